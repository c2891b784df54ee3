//! `check`: reads the configuration as `run` would, and tells what is in force. Opens nothing.

use super::{Failure, screen};
use crate::config::{self, Loaded, Overrides, Sources};
use clap::Args;

#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn execute(overrides: Overrides, arguments: &Arguments) -> Result<(), Failure> {
    let Loaded { config, file, warnings } = config::load(&Sources::from_process(overrides))?;
    for warning in &warnings {
        screen::complain(&format_args!("warning: {warning}"));
    }
    if arguments.quiet {
        return Ok(());
    }
    let source = file
        .map_or_else(|| "no file, environment and defaults".to_owned(), |file| file.display().to_string());
    let listen: Vec<String> = config.server.listen().map(|address| address.to_string()).collect();
    let metrics = config.metrics.listen().map_or_else(|| "off".to_owned(), |address| address.to_string());
    screen::say(&format_args!(
        "configuration ok ({source})\n  miners   {}\n  pool     {} ({})\n  metrics  {metrics}",
        listen.join(", "),
        config.first_pool().endpoint(),
        config.first_pool().name,
    ))?;
    Ok(())
}
