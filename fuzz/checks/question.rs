//! What holds for any text that somebody searches the records by, in a terminal or in a field of the
//! console: nothing panics, and what cannot be understood is told in one line that can be shown.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use mppd::tracking::search::{self, Question};

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets).into_owned();
    let now = Timestamp::constant(1_795_352_400, 0).to_zoned(TimeZone::fixed(jiff::tz::offset(2)));
    let said = Some(text.clone());
    for question in [
        Question { sender: said.clone(), ..Question::default() },
        Question { recipient: said.clone(), ..Question::default() },
        Question { domain: said.clone(), ..Question::default() },
        Question { client: said.clone(), ..Question::default() },
        Question { decision: said.clone(), ..Question::default() },
        Question { instance: said.clone(), ..Question::default() },
        Question { text: said.clone(), ..Question::default() },
        Question { since: said.clone(), ..Question::default() },
        Question { until: said.clone(), ..Question::default() },
        Question { on: said.clone(), ..Question::default() },
    ] {
        ask(&question, &now);
    }
    let conditions = text.lines().map(str::to_owned).collect();
    ask(&Question { conditions, ..Question::default() }, &now);
    if let Ok(instant) = search::instant(&text, &now) {
        assert_eq!(search::instant(&text, &now), Ok(instant), "{text:?}");
    }
}

fn ask(question: &Question, now: &Zoned) {
    match question.query(now) {
        Ok(query) => assert_eq!(question.query(now), Ok(query)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
