//! A text of the reference before it has a form: headings, paragraphs, tables and code.
//!
//! Words between backticks are code, and `[text](page)` is a link, in every text of it.

use serde_json::{Map, Value, json};

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// A heading, with its level: 1 is the title.
    Heading(usize, String),
    /// Prose; its lines may end anywhere between words.
    Paragraph(String),
    /// A table.
    Table(Table),
    /// Lines that stay as they are.
    Code(String),
}

/// Rows under the names of their columns. The first column says what a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A document that grows.
#[derive(Debug, Default)]
pub(crate) struct Document {
    blocks: Vec<Block>,
}

impl Document {
    pub(crate) fn heading(&mut self, level: usize, text: impl Into<String>) {
        self.blocks.push(Block::Heading(level, text.into()));
    }

    pub(crate) fn paragraph(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph(text.into()));
    }

    pub(crate) fn table(
        &mut self,
        columns: &[&'static str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) {
        let (columns, rows) = (columns.to_vec(), rows.into_iter().collect());
        self.blocks.push(Block::Table(Table { columns, rows }));
    }

    pub(crate) fn code(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Code(text.into()));
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The document as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let pieces: Vec<String> = self.blocks.iter().map(markdown).collect();
        pieces.join("\n")
    }

    /// The document for machines: `sections`, each with its heading, the level of that, and what
    /// stands below it in order. A row of a table is an object by the names of the columns.
    pub(crate) fn json(&self) -> Value {
        let mut sections: Vec<Value> = Vec::new();
        for block in &self.blocks {
            if let Block::Heading(level, text) = block {
                sections.push(json!({"heading": plain(text), "level": level, "content": []}));
                continue;
            }
            let content = sections.last_mut().and_then(|section| section["content"].as_array_mut());
            if let Some(content) = content {
                content.push(content_json(block));
            }
        }
        json!({ "sections": sections })
    }
}

/// A text without the marks of code.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn content_json(block: &Block) -> Value {
    match block {
        Block::Heading(_, text) => json!({ "heading": plain(text) }),
        Block::Paragraph(text) => {
            json!({ "text": plain(&text.split_whitespace().collect::<Vec<_>>().join(" ")) })
        }
        Block::Code(text) => json!({ "code": text }),
        Block::Table(table) => {
            let row = |cells: &Vec<String>| -> Map<String, Value> {
                let names = table.columns.iter().map(|name| plain(name));
                names.zip(cells.iter().map(|cell| json!(plain(cell)))).collect()
            };
            json!({ "table": table.rows.iter().map(row).collect::<Vec<_>>() })
        }
    }
}

fn markdown(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("{} {text}\n", "#".repeat(*level)),
        Block::Paragraph(text) => format!("{}\n", text.trim_end()),
        Block::Code(text) => format!("```text\n{}\n```\n", text.trim_end()),
        Block::Table(table) => {
            let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
            let columns: Vec<String> = table.columns.iter().map(ToString::to_string).collect();
            let mut text = line(&columns);
            text.extend(["|", &" --- |".repeat(columns.len()), "\n"]);
            for row in &table.rows {
                let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
                text.push_str(&line(&cells));
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let mut document = Document::default();
        document.table(&["a"], [vec!["x|y".to_owned()]]);
        assert_eq!(document.markdown(), "| a |\n| --- |\n| x\\|y |\n");
    }

    #[test]
    fn machines_get_rows_by_the_names_of_their_columns_below_their_heading() {
        let mut document = Document::default();
        document.heading(1, "One");
        document.paragraph("words\nof it");
        document.heading(2, "Two");
        document.table(&["a", "b"], [vec!["`x`".to_owned(), "y|z".to_owned()]]);
        let sections = &document.json()["sections"];
        assert_eq!(sections[0]["content"][0]["text"], "words of it");
        assert_eq!((&sections[1]["heading"], &sections[1]["level"]), (&json!("Two"), &json!(2)));
        let table = &sections[1]["content"][0]["table"];
        assert_eq!(*table, json!([{"a": "x", "b": "y|z"}]));
    }
}
