//! Whom an engine asks before it can say anything: for those who want to know what would be decided
//! without asking anybody, or without changing anything.

/// How far an engine reaches. What reaches further is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// It asks nobody: it has the request, its lists, and what engines remember.
    #[default]
    Inside,
    /// It asks name servers.
    Dns,
    /// It asks others as well (databases, directories, web services, mail servers), who only
    /// answer.
    Services,
    /// It asks others who may do something because they are asked: a statement that writes, another
    /// policy server.
    Changes,
}

impl Reach {
    /// Whom it asks, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Reach::Inside => "nobody",
            Reach::Dns => "name servers",
            Reach::Services => "other services",
            Reach::Changes => "others, who may change something",
        }
    }
}
