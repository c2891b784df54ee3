//! `[records]`, checked: whether records of shares are kept, and where.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// `[records]`: share records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsConfig {
    /// Whether they are kept where there is a file for them.
    pub enable: bool,
    /// The file; `None` where nobody named one and there is no state folder.
    pub file: Option<PathBuf>,
    /// Bytes that they may take of the disk; `None`: as many as there are.
    pub bytes_max: Option<NonZeroU64>,
}

impl RecordsConfig {
    /// Name of the file in a state folder.
    pub const FILE_NAME: &'static str = "records.sqlite";

    /// The file that is written; `None` when no records are kept.
    pub fn written(&self) -> Option<&Path> {
        self.file.as_deref().filter(|_| self.enable)
    }
}
