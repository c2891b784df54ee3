//! The command line: what was typed becomes one call, and what came of it an exit code.
//!
//! Standard output carries what was asked for, standard error what went wrong and the log.

mod alerts;
mod bench;
mod check;
mod children;
mod demo;
mod doctor;
mod load;
mod records;
mod reference;
mod remote;
mod run;
mod screen;
mod shell;
mod top;
mod tune;

use crate::config::{ConfigError, Overrides};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for wrong use, which clap uses too.
const USAGE: u8 = 2;
/// Exit code for a failure while running.
const FAILED: u8 = 1;

/// Bitcoin Stratum V1 mining proxy: one pinned executor per core, nothing shared on the data path.
#[derive(Debug, Parser)]
#[command(name = "loka-stratum", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    /// Check the configuration and exit, like `check`
    #[arg(long)]
    validate: bool,
    /// Ask every pool for work and exit, like `doctor`
    #[arg(long)]
    test_pool_connection: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
struct Options {
    /// Configuration file [default: $LOKA_CONFIG, ./config.toml, /etc/loka-stratum/config.toml, or none]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where miners connect: an address, a port, or both
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The pool, or the first of several: host or host:port, for TLS stratum+ssl://host:port
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pool: Option<String>,
    /// Number of shards; 0 for one per allowed CPU
    #[arg(long, global = true, value_name = "N")]
    shards: Option<usize>,
    /// CPUs that the shards are pinned to, such as 2-5,8
    #[arg(long, global = true, value_name = "LIST")]
    cpus: Option<String>,
    /// off, error, warn, info, debug or trace; TARGET=LEVEL beside it, separated by commas
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Set any key of the configuration; may be given several times
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

impl Options {
    /// Refuses options that a command which brings its own pool would have to ignore.
    fn refuse(command: &str, options: &[(&str, bool)]) -> Result<(), Failure> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::Usage(format!("{option} means nothing to `{command}`"))),
            None => Ok(()),
        }
    }

    /// Refuses the options that say where a proxy listens and mines, for a command that measures proxies of its own.
    fn refuse_places(&self, command: &str) -> Result<(), Failure> {
        let Options { config, pool, listen, .. } = self;
        let given =
            [("--config", config.is_some()), ("--pool", pool.is_some()), ("--listen", listen.is_some())];
        Options::refuse(command, &given)
    }

    fn overrides(&self) -> Overrides {
        let Options { config, listen, pool, shards, cpus, log_level, set } = self.clone();
        Overrides { config, shards, cpus, listen, pool, log_level, set }
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as pool.username=farm")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (the default)
    Run,
    /// Check the configuration, print what is in force, exit with 78 if it is wrong
    Check(check::Arguments),
    /// Find out whether every pool has work for us and whether this host can run the proxy, and what to do if not
    Doctor(doctor::Arguments),
    /// Show the product: an embedded pool, 50 simulated miners and the proxy, on this machine
    Demo(demo::Arguments),
    /// Load a Stratum V1 server, or without a target measure this proxy against a direct connection
    Bench(bench::Arguments),
    /// Find the number of shards and the CPUs that suit this host, by measuring (--cpus and --shards bound what is tried)
    Tune(tune::Arguments),
    /// About alerts
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    /// Watch a running proxy in the terminal: the whole, its pools, shards, workers and events
    Top(top::Arguments),
    #[command(flatten)]
    Remote(remote::Remote),
    /// Read the records of shares that a proxy keeps, while it runs or afterwards
    #[command(subcommand)]
    Records(records::Records),
    /// About the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print what a shell needs to complete commands and options
    Completions(shell::Completions),
    /// Print the manual page
    Man,
    /// Parts of `bench` and `tune` that run in a process of their own, so that their CPU and memory can be told apart
    #[command(subcommand, hide = true)]
    Child(children::Child),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Print every key with its meaning, default and range
    Reference,
}

/// Why a command failed. Decides the exit code.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(ConfigError),
    /// The command takes no such option.
    Usage(String),
    /// Anything else.
    Run(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into().downcast::<ConfigError>() {
            Ok(error) => Failure::Config(error),
            Err(error) => Failure::Run(error),
        }
    }
}

impl Failure {
    /// Tells what went wrong on standard error, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Config(error) => {
                screen::complain(error);
                ExitCode::from(ConfigError::EXIT_CODE)
            }
            Failure::Usage(text) => {
                screen::complain(&format_args!("error: {text}"));
                ExitCode::from(USAGE)
            }
            Failure::Run(error) => {
                screen::complain(&format_args!("loka-stratum: {}", told_once(error)));
                ExitCode::from(FAILED)
            }
        }
    }
}

/// The error and its causes, without those that the text before them has told already.
fn told_once(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl Cli {
    /// Does what was typed.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(self) -> Result<(), Failure> {
        let overrides = self.options.overrides();
        match self.command {
            _ if self.validate => check::execute(overrides, &check::Arguments::default()),
            _ if self.test_pool_connection => doctor::execute(overrides, &doctor::Arguments::default()),
            None | Some(Command::Run) => run::execute(overrides),
            Some(Command::Check(arguments)) => check::execute(overrides, &arguments),
            Some(Command::Doctor(arguments)) => doctor::execute(overrides, &arguments),
            Some(Command::Demo(arguments)) => {
                let Options { config, pool, .. } = &self.options;
                Options::refuse("demo", &[("--config", config.is_some()), ("--pool", pool.is_some())])?;
                demo::execute(&overrides, &arguments)
            }
            Some(Command::Bench(arguments)) => {
                self.options.refuse_places("bench")?;
                bench::execute(&self.options, &arguments)
            }
            Some(Command::Tune(arguments)) => {
                self.options.refuse_places("tune")?;
                tune::execute(&self.options, &arguments)
            }
            Some(Command::Alerts(command)) => alerts::execute(overrides, &command),
            Some(Command::Top(arguments)) => top::execute(overrides, &arguments),
            Some(Command::Remote(command)) => remote::execute(overrides, &command),
            Some(Command::Records(command)) => records::execute(overrides, &command),
            Some(Command::Config(Config::Reference)) => reference::execute(),
            Some(Command::Completions(arguments)) => shell::completions(&arguments),
            Some(Command::Man) => shell::man(),
            Some(Command::Child(child)) => children::execute(&self.options, &child),
        }
    }
}
