//! What is counted, and how it is shown to Prometheus.
//!
//! On the way of a request numbers are added to that belong to the worker's thread alone
//! ([`Tally`]); whoever asks for metrics pays for the rest. What others count already is taken from
//! them: connections from [`crate::traffic`], records from their trackers, answers from the
//! resolver.
//!
//! | module | what lives there |
//! |---|---|
//! | [`count`] | numbers that are cheap to add to |
//! | [`counters`] | what is counted on the way of a request, by engine and by policy group |
//! | [`declared`] | every metric there is |
//! | `exposition` | every metric with its values |
//! | `page` | the text format of Prometheus |
//! | `process` | what the system says of this process |

pub mod count;
pub mod counters;
pub mod declared;
mod exposition;
mod page;
mod process;

pub use count::{Histogram, HistogramReading};
pub use counters::{Counters, EngineReading, Reading, Shard, Tally};
pub use exposition::Monitor;
pub use page::CONTENT_TYPE;
