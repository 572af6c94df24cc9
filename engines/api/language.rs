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
//! | `macros` | the table of every macro |
//! | `patterns` | named regular expressions, what `~=` asks for |
//! | `scope` | what names mean where a text stands, and what a text refers to |
//! | `view` | what a text sees of a request |
//! | `parser` | from text to syntax, after the grammar in `grammar.ebnf` |
//! | `syntax` | what a text says, and the same written out again |
//! | `compile` | from syntax to expressions: names are looked up, faults found |
//! | `expression` | what is evaluated |
//! | `comparison` | numbers and octets |
//! | `functions` | what the functions compute |

mod comparison;
mod compile;
mod condition;
mod expression;
mod functions;
mod macros;
mod parser;
mod patterns;
mod scope;
mod syntax;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod view;

pub use condition::Condition;
pub use functions::LONGEST;
pub use macros::{MacroDoc, MacroFamily, PartDoc, example_attributes, macros};
pub use patterns::{PatternGroup, PatternItem, PatternLibrary, PatternMatch, Patterns};
pub use scope::{Reference, Scope, Target};
pub use template::{Piece, Template};
pub use view::View;
