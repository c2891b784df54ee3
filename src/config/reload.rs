//! A configuration that is read again while the process runs: what has changed, and what of it can be taken.
//!
//! Keys that only a start can change stay as they were at the start, and so does a file that holds a mistake anywhere: it changes
//! nothing at all. It applies nothing.

use super::check::{InForce, Setting};
use super::error::{ConfigError, Problems};
use super::{Config, Loaded, PoolConfig, Sources, checked, loaded};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The configuration that is in force, and where to read the next one.
#[derive(Clone)]
pub struct Standing {
    sources: Sources,
    /// What was set for keys that only a start can change.
    at_start: Vec<Setting>,
    config: Config,
    in_force: Vec<InForce>,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A difference between the configuration that is in force and the one that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Such as `limiter.jobs`, or `pool` for a pool that is new or gone.
    pub key: &'static str,
    /// The name of the pool that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The value in force; null where there was no such pool. Secrets are `(hidden)`.
    pub old: Value,
    /// The value that was read; null where there is no such pool any more.
    pub new: Value,
    /// Only the next start takes it.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    /// `limiter.jobs: "10m" -> "5m"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { key, pool, old, new, needs_restart } = self;
        write!(f, "{key}")?;
        if let Some(pool) = pool {
            write!(f, " of {pool:?}")?;
        }
        write!(f, ": {old} -> {new}")?;
        if *needs_restart { f.write_str(" (takes a restart)") } else { Ok(()) }
    }
}

/// What would be in force after a reload.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Every difference, in the order of the reference; empty where there is none.
    pub changes: Vec<Change>,
    /// As in [`Loaded::warnings`].
    pub warnings: Vec<String>,
    /// To be kept in the place of the old one when all of it has been applied.
    pub standing: Standing,
}

impl Standing {
    /// Loads the first configuration of a process.
    ///
    /// # Errors
    /// As [`super::load`].
    pub fn load(sources: Sources) -> Result<(Loaded, Standing), ConfigError> {
        let (first, settings) = loaded(&sources)?;
        let standing = Standing {
            sources,
            at_start: settings.at_start().cloned().collect(),
            config: first.config.clone(),
            in_force: first.in_force.clone(),
        };
        Ok((first, standing))
    }

    /// What is in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same, key by key.
    pub fn in_force(&self) -> &[InForce] {
        &self.in_force
    }

    /// Reads the configuration again, from where the first one was read.
    ///
    /// # Errors
    /// As [`super::load`]; and where what can be changed does not go together with what cannot.
    pub fn reread(&self) -> Result<Proposal, ConfigError> {
        let (read, settings) = loaded(&self.sources)?;
        let changes = changes(self, &read);
        let settings = settings.with_at_start(&self.at_start);
        let mut problems = Problems::default();
        let config = checked(&settings, &self.sources.env, &mut problems);
        problems.into_result()?;
        let in_force = settings.in_force(&config);
        let standing = Standing { config, in_force, ..self.clone() };
        Ok(Proposal { changes, warnings: read.warnings, standing })
    }
}

/// Pools are the same by their names, in whatever order they stand.
fn changes(old: &Standing, new: &Loaded) -> Vec<Change> {
    let name = |pools: &[PoolConfig], at: Option<usize>| {
        at.and_then(|at| pools.get(at)).map(|pool| pool.name.clone())
    };
    let was = |one: &InForce| {
        let pool = name(&new.config.pools, one.pool);
        let found =
            old.in_force.iter().find(|was| was.key == one.key && name(&old.config.pools, was.pool) == pool);
        found.map(|was| (pool, was))
    };
    let mut all = pools_gone(&old.config.pools, &new.config.pools);
    for one in &new.in_force {
        let Some((pool, was)) = was(one) else { continue };
        if (&was.value, was.mark) != (&one.value, one.mark) {
            let (old, new) = (was.value.clone(), one.value.clone());
            all.push(Change { key: one.key, pool, old, new, needs_restart: one.is_at_start });
        }
    }
    all
}

/// Pools that only one of the two lists has.
fn pools_gone(old: &[PoolConfig], new: &[PoolConfig]) -> Vec<Change> {
    let lacks = |pools: &[PoolConfig], pool: &&PoolConfig| pools.iter().all(|other| other.name != pool.name);
    let change = |pool: &PoolConfig, old: Value, new: Value| Change {
        key: "pool",
        pool: Some(pool.name.clone()),
        old,
        new,
        needs_restart: false,
    };
    let gone =
        old.iter().filter(|pool| lacks(new, pool)).map(|pool| change(pool, pool.url().into(), Value::Null));
    let come =
        new.iter().filter(|pool| lacks(old, pool)).map(|pool| change(pool, Value::Null, pool.url().into()));
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::config::tests::{OTHER, other_files};
    use std::path::PathBuf;

    /// A file that a test writes again and again.
    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> File {
            File(std::env::temp_dir().join(format!("loka-reload-{}-{name}.toml", std::process::id())))
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }

        fn load(&self) -> Standing {
            let overrides = Overrides { config: Some(self.0.clone()), ..Overrides::default() };
            Standing::load(Sources::new(overrides, Vec::new())).unwrap().1
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn told(proposal: &Proposal) -> Vec<String> {
        proposal.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn changes_are_told_by_key_and_pool_and_secrets_are_not() {
        let file = File::new("told");
        file.write(
            "[[pool]]\nname = \"main\"\nhost = \"a.example\"\npassword = \"hunter2\"\n\
             [[pool]]\nname = \"spare\"\nhost = \"b.example\"\n[limiter]\njobs = \"10m\"\n",
        );
        let standing = file.load();
        assert_eq!(told(&standing.reread().unwrap()), Vec::<String>::new());
        file.write(
            "[[pool]]\nname = \"third\"\nhost = \"c.example\"\n\
             [[pool]]\nname = \"main\"\nhost = \"a.example\"\npassword = \"hunter3\"\n\
             [limiter]\njobs = \"5m\"\n[server]\nport = 4444\n",
        );
        let proposal = standing.reread().unwrap();
        assert_eq!(
            told(&proposal),
            [
                r#"pool of "spare": "stratum+tcp://b.example:3333" -> null"#,
                r#"pool of "third": null -> "stratum+tcp://c.example:3333""#,
                "server.port: 3333 -> 4444 (takes a restart)",
                r#"pool.password of "main": "(hidden)" -> "(hidden)""#,
                r#"pool.priority of "main": 1 -> 2"#,
                r#"limiter.jobs: "10m" -> "5m""#,
            ]
        );
        let new = &proposal.standing;
        assert_eq!((new.config().server.port, new.config().limiter.jobs.as_secs()), (3333, 300));
        assert_eq!(told(&new.reread().unwrap()), ["server.port: 3333 -> 4444 (takes a restart)"]);
    }

    #[test]
    fn a_mistake_anywhere_is_an_error_and_so_is_what_only_a_restart_could_make_sense_of() {
        let file = File::new("wrong");
        file.write("[pool]\nhost = \"a.example\"\n");
        let standing = file.load();
        for (wrong, told) in [
            ("[pool]\nhost = \"a.example\"\n[limiter]\njobs = \"never\"\n", "limiter.jobs"),
            ("[pool", "TOML"),
            (
                "[pool]\nhost = \"a.example\"\n[server.tls]\ncert_file = \"c\"\nkey_file = \"k\"\nport = 3443\n",
                "tls",
            ),
        ] {
            file.write(wrong);
            let error = standing.reread().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        std::fs::remove_file(&file.0).unwrap();
        assert!(standing.reread().is_err(), "a file that is gone changes nothing");
    }

    /// Every key changes what it may: those that hold until the next start nothing, the others something.
    #[test]
    fn each_key_is_taken_by_a_reload_or_says_that_it_is_not() {
        let file = File::new("keys");
        for (path, value) in OTHER {
            let (before, after) = other_files(path, value);
            if !before.contains("host") {
                // Without a pool nothing can be loaded.
                continue;
            }
            file.write(&before);
            let standing = file.load();
            file.write(&after);
            let proposal = standing.reread().unwrap_or_else(|error| panic!("{path}: {error}"));
            let mut changes = proposal.changes.iter();
            let change = changes.find(|change| [*path, "pool"].contains(&change.key));
            let change = change.unwrap_or_else(|| panic!("{path}: {:?}", proposal.changes));
            let is_taken = proposal.standing.config() != standing.config();
            assert_eq!(is_taken, !change.needs_restart, "{path}");
        }
    }
}
