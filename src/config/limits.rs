//! Bounds on what is read as configuration, so that no file, however made, costs more than this.

/// The bounds; tests take smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one file.
    pub file_size: usize,
    /// Octets of all files together.
    pub total_size: usize,
    /// Number of files.
    pub files: usize,
    /// How deep elements may be nested, also after includes.
    pub nesting: usize,
    /// How deep includes may be nested.
    pub include_depth: usize,
    /// How many includes are followed.
    pub includes: usize,
    /// Octets of XML that includes may bring in, each counted as often as it is included.
    pub included_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_size: 16 << 20,
            total_size: 64 << 20,
            files: 1_000,
            nesting: 64,
            include_depth: 16,
            includes: 10_000,
            included_size: 64 << 20,
        }
    }
}
