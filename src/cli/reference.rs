//! `config reference`

use super::{Failure, screen};
use crate::config;

pub(super) fn execute() -> Result<(), Failure> {
    Ok(screen::say(&config::reference().trim_end())?)
}
