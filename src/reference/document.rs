//! A text of the reference before it has a form: headings, paragraphs, tables and code.
//!
//! Words between backticks are code, and `[text](page)` is a link, in every text of it.

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
}
