//! `records`: what the file of share records holds, as sums, for one worker, or row by row.
//!
//! It reads the file itself and asks no proxy, so it works while one runs and when none does. It changes nothing.

mod text;
mod time;

use super::{Failure, screen};
use crate::config::{self, Overrides, RecordsConfig, Sources};
use crate::records::{MinuteRow, ReadError, ReadEvent, Records as File};
use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where the unit of the package keeps its state.
const STATE_FOLDER: &str = "/var/lib/loka-stratum";

#[derive(Debug, Subcommand)]
pub(super) enum Records {
    /// Sums over all workers, and those with the most work
    Summary(Summary),
    /// Sums of one worker, and its last hours
    Worker(Worker),
    /// Every row, for other programs: one a worker and minute, or one a share that came to nothing
    Export(Export),
}

#[derive(Debug, Args)]
struct Which {
    /// The file of records [default: records.file of the configuration, else that of the service]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// From this time on: 2026-11-25, 2026-11-25T04:00:00Z, or 2h for two hours ago; all times are UTC
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: Option<i64>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    to: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct Summary {
    #[command(flatten)]
    which: Which,
    /// How many workers to show, those with the most accepted work first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    top: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Worker {
    /// Its whole name, as its miner gives it
    name: String,
    #[command(flatten)]
    which: Which,
    /// How many of its last hours to show
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=8_784))]
    hours: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// csv, with a line of names first; or json, an array with one object a line
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    which: Which,
    /// Rows of this worker only
    #[arg(long, value_name = "NAME", conflicts_with = "events")]
    worker: Option<String>,
    /// Each share that was rejected or refused, instead of rows of minutes
    #[arg(long)]
    events: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Json,
}

impl Which {
    /// Opens the file that is meant.
    fn open(&self, overrides: Overrides) -> Result<File, Failure> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let config = config::load(&Sources::from_process(overrides))?.config;
                let default = || Path::new(STATE_FOLDER).join(RecordsConfig::FILE_NAME);
                config.records.file.unwrap_or_else(default)
            }
        };
        Ok(File::open(&file)?)
    }

    /// The minutes that are meant: the one in which a time lies is whole.
    fn minutes(&self) -> Result<Range<i64>, Failure> {
        let from = self.from.unwrap_or(0).div_euclid(60);
        // Far enough, and small enough to be reckoned with.
        let to = self.to.map_or(i64::from(u32::MAX), |to| to.saturating_add(59).div_euclid(60));
        if from >= to {
            return Err(Failure::Usage("--from must be before --to".to_owned()));
        }
        Ok(from..to)
    }
}

pub(super) fn execute(overrides: Overrides, command: &Records) -> Result<(), Failure> {
    match command {
        Records::Summary(Summary { which, top, json }) => {
            let (minutes, file) = (which.minutes()?, which.open(overrides)?);
            let summary = file.summary(minutes.clone(), None)?;
            let workers = file.top(minutes, *top)?;
            if *json {
                screen::say(&text::summary_json(file.path(), &summary, "workers_by_work", &workers))?;
            } else {
                screen::say(&text::summary(file.path(), &summary, &workers))?;
            }
        }
        Records::Worker(Worker { name, which, hours, json }) => {
            let (minutes, file) = (which.minutes()?, which.open(overrides)?);
            let worker = known(&file, name)?;
            let summary = file.summary(minutes.clone(), Some(worker))?;
            let hours = file.hours(minutes, worker, *hours)?;
            if *json {
                screen::say(&text::summary_json(file.path(), &summary, "hours", &hours))?;
            } else {
                screen::say(&text::summary(file.path(), &summary, &hours))?;
            }
        }
        Records::Export(export) => {
            let (minutes, file) = (export.which.minutes()?, export.which.open(overrides)?);
            match write(&file, minutes, export) {
                Ok(()) => {}
                Err(Failure::Run(error)) if is_reader_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn known(file: &File, name: &str) -> Result<i64, Failure> {
    let missing = || anyhow!("{} knows no worker of this name", file.path().display());
    Ok(file.worker(name)?.ok_or_else(missing)?)
}

/// `| head` is no failure.
fn is_reader_gone(error: &anyhow::Error) -> bool {
    let output = error.downcast_ref::<ReadError>().and_then(|error| match error {
        ReadError::Output(error) => Some(error),
        ReadError::Missing { .. }
        | ReadError::Empty { .. }
        | ReadError::NoDatabase { .. }
        | ReadError::Stranger { .. }
        | ReadError::Sqlite { .. } => None,
    });
    output
        .or_else(|| error.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn write(file: &File, minutes: Range<i64>, export: &Export) -> Result<(), Failure> {
    let worker = export.worker.as_deref().map(|name| known(file, name)).transpose()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut is_first = true;
    match export.format {
        Format::Csv => {
            let head = if export.events { text::EVENTS_HEAD } else { text::MINUTES_HEAD };
            writeln!(out, "{head}")?;
            let minute = |row: &MinuteRow| writeln!(out, "{}", text::minute_csv(row));
            if export.events {
                file.events(minutes, |row| writeln!(out, "{}", text::event_csv(row)))?;
            } else {
                file.minutes(minutes, worker, minute)?;
            }
        }
        Format::Json => {
            write!(out, "[")?;
            let mut one = |value: serde_json::Value| {
                let comma = if std::mem::take(&mut is_first) { "" } else { "," };
                write!(out, "{comma}\n{value}")
            };
            if export.events {
                file.events(minutes, |row: &ReadEvent| one(text::event_json(row)))?;
            } else {
                file.minutes(minutes, worker, |row| one(text::minute_json(row)))?;
            }
            writeln!(out, "\n]")?;
        }
    }
    out.flush()?;
    Ok(())
}
