//! What every engine's element can say, understood.

use std::collections::HashMap;
use std::time::Duration;

use mppd_engine::config::{DEFAULT_TIMEOUT, Period};
use mppd_engine::{Finding, Spanned, StatusDoc};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

use super::effect::{Effect, effect, effect_of};

/// What every engine's element can say, understood.
pub(super) struct Common {
    pub(super) effects: HashMap<&'static str, Effect>,
    pub(super) timeout: Duration,
    pub(super) on_exception: Option<Effect>,
    pub(super) dry_run: bool,
}

impl Common {
    pub(super) fn of(statuses: &'static [StatusDoc]) -> Self {
        let default = |status: &StatusDoc| {
            // The table of engines is tested to have defaults that can be read.
            effect_of(status.default_action).unwrap_or(Effect::Continue)
        };
        Common {
            effects: statuses.iter().map(|status| (status.name, default(status))).collect(),
            timeout: DEFAULT_TIMEOUT.0,
            on_exception: None,
            dry_run: false,
        }
    }

    pub(super) fn set(
        &mut self,
        name: &Spanned<&str>,
        value: &Spanned<&str>,
    ) -> Result<(), Finding> {
        match name.value {
            "timeout" => self.timeout = period(value)?,
            "dry_run" => self.dry_run = truth(value)?,
            "on_exception" => {
                self.on_exception = Some(match value.value {
                    "fail" => Effect::Fail,
                    _ => effect(value)?,
                });
            }
            on_status => {
                let status = on_status.trim_start_matches("on_");
                let Some(slot) = self.effects.get_mut(status) else {
                    return Err(self.unknown_status(name));
                };
                *slot = effect(value)?;
            }
        }
        Ok(())
    }

    fn unknown_status(&self, name: &Spanned<&str>) -> Finding {
        let mut known: Vec<String> =
            self.effects.keys().map(|status| format!("on_{status}")).collect();
        known.push("on_exception".to_owned());
        known.sort();
        Finding::unknown(name.span, "option", name.value, known.iter().map(String::as_str))
    }
}

fn period(text: &Spanned<&str>) -> Result<Duration, Finding> {
    let text_value: StrDeserializer<'_, serde::de::value::Error> = text.value.into_deserializer();
    match Period::deserialize(text_value) {
        Ok(period) => Ok(period.0),
        Err(error) => Err(Finding::error(text.span, error.to_string())),
    }
}

fn truth(text: &Spanned<&str>) -> Result<bool, Finding> {
    match text.value {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        other => Err(Finding::error(text.span, format!("\"{other}\" is neither true nor false"))),
    }
}
