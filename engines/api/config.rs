//! The configuration as engines see it: elements with their positions, typed options read out of
//! them, and findings that point at the place.
//!
//! Reading files, following includes and printing reports are the server's; here is only what an
//! engine needs to build itself and to say what is wrong, and where.

mod build;
mod de;
mod element;
mod finding;
mod nearest;
mod options;
mod service;
mod source;
mod value;

pub use build::{
    BuildContext, COMMON_OPTIONS, CaseOptions, DEFAULT_BREAKER_FAILURES, DEFAULT_BREAKER_PAUSE,
    DEFAULT_RESULT, DEFAULT_TIMEOUT, ResultOptions, common_option_docs, is_common_option,
};
pub use de::{from_element, salvage};
pub use element::{AttributeNode, Element};
pub use finding::{Finding, Severity};
pub use nearest::nearest;
pub use options::{OptionDoc, OptionValue, Options};
pub use service::Services;
pub use source::{Origin, Source, SourceId, SourceMap, Span};
pub use value::{FileSize, Period, Positive, Spanned};
