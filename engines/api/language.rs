//! The language of the configuration: *templates*, texts with macros, and *conditions* over them.
//!
//! Both are compiled once, when the configuration is read, and checked then: every fault has its
//! place. Afterwards they cannot fail, and what is constant costs nothing.
//!
//! An engine asks its [`BuildContext`](crate::BuildContext) to compile what its options hold, and
//! evaluates it with a [`View`] of each exchange. What a compiled text refers to (other engines,
//! the decision, attributes that exist at some stages only) is kept as [`Reference`]s, which the
//! server checks against the chains.
//!
//! | module | what lives there |
//! |---|---|
//! | `template` | texts with macros |
//! | `condition` | comparisons, and what joins them |
//! | `patterns` | named regular expressions, what `~=` asks for |
//! | `scope` | what names mean where a text stands, and what a text refers to |
//! | `view` | what a text sees of a request |

mod condition;
mod patterns;
mod scope;
mod template;
mod view;

pub use condition::Condition;
pub use patterns::{PatternLibrary, Patterns};
pub use scope::{Reference, Scope, Target};
pub use template::{Piece, Template};
pub use view::View;
