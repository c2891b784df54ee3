//! The configuration file that `--write` names: read and checked as `check` would, and replaced as a whole or not at all.

use super::super::Failure;
use super::ANY_POOL;
use super::candidates::Candidate;
use super::setting::edited;
use crate::config::{self, Loaded, Overrides};
use anyhow::{Context, anyhow, ensure};
use rustix::fs::{Access, Gid, Uid, access, fchown};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of a file that is new, before the umask: a password may come into it later.
const NEW_MODE: u32 = 0o640;

/// The file that a recommendation is written to.
#[derive(Debug)]
pub(super) struct Target {
    /// As it was typed, for messages.
    name: PathBuf,
    /// Behind all links, for replacing it.
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Target {
    /// Checks all that can be checked before a measurement: the file as it is, as it would be with each candidate, and
    /// that it can be replaced. Gives the warnings of `check` too.
    pub(super) fn open(
        name: &Path,
        candidates: &[Candidate],
        environment: Vec<(OsString, OsString)>,
    ) -> Result<(Target, Vec<String>), Failure> {
        let path = behind_links(name)?;
        let target = Target { name: name.to_owned(), path, environment };
        let mut warnings = match target.present()? {
            Some(text) => target.check(&text, &Overrides::default())?.warnings,
            None => Vec::new(),
        };
        for candidate in candidates {
            let (_, loaded) = target.with(candidate)?;
            let told = loaded.config.server.cpus.as_ref() == Some(&candidate.cpus)
                && loaded.config.performance.worker_threads.map(|shards| shards.get())
                    == Some(candidate.shards);
            if !told {
                let name = target.name.display();
                warnings.push(format!(
                    "what is written to {name} has no effect while the environment says otherwise"
                ));
                break;
            }
        }
        let folder = folder_of(&target.path);
        access(folder, Access::WRITE_OK | Access::EXEC_OK).with_context(|| {
            format!("--write {}: cannot replace files in {}", name.display(), folder.display())
        })?;
        Ok((target, warnings))
    }

    /// Writes this candidate into the file, which is read again: somebody may have changed it in the meantime.
    pub(super) fn write(&self, candidate: &Candidate) -> Result<(), Failure> {
        let (text, _) = self.with(candidate)?;
        replace(&self.path, &text).with_context(|| format!("cannot write {}", self.name.display()))?;
        Ok(())
    }

    /// The text with this candidate, and what it says.
    fn with(&self, candidate: &Candidate) -> Result<(String, Loaded), Failure> {
        let present = self.present()?;
        // A new file says nothing about the pool, which is no mistake of what is written to it.
        let pool = present.is_none().then(|| ANY_POOL.to_owned());
        let text = edited(&present.unwrap_or_default(), candidate.shards, &candidate.cpus)?;
        let loaded = self.check(&text, &Overrides { pool, ..Overrides::default() })?;
        Ok((text, loaded))
    }

    fn check(&self, text: &str, overrides: &Overrides) -> Result<Loaded, Failure> {
        Ok(config::parse_str(&self.name.to_string_lossy(), text, &self.environment, overrides)?)
    }

    /// The present text; `None` while there is no such file.
    fn present(&self) -> Result<Option<String>, Failure> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // A pipe would be waited for, and could not be replaced.
            Ok(facts) if !facts.is_file() && !facts.is_dir() => {
                Err(anyhow!("--write {}: not a regular file", self.name.display()).into())
            }
            Ok(_) | Err(_) => Ok(Some(config::text_of(&self.path, "--write")?)),
        }
    }
}

/// Replacing a link would leave the file that it names as it was.
fn behind_links(name: &Path) -> anyhow::Result<PathBuf> {
    match fs::canonicalize(name) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(name).is_err() => {
            Ok(name.to_owned())
        }
        Err(error) => Err(error).with_context(|| format!("--write {}", name.display())),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file beside it and puts that in its place, so that nobody ever reads half of it, whatever happens.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.file_name().context("it has no name")?.to_string_lossy();
    let beside = folder_of(path).join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(NEW_MODE)
        .open(&beside)
        .with_context(|| beside.display().to_string())?;
    let replaced = fill(&mut file, text, fs::metadata(path).ok().as_ref()).and_then(|()| {
        fs::rename(&beside, path)?;
        // The new name is on the disk only when the folder is.
        Ok(File::open(folder_of(path))?.sync_all()?)
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

/// Gives the file its text, and the owner and permissions of the one whose place it will take.
fn fill(file: &mut File, text: &str, present: Option<&fs::Metadata>) -> anyhow::Result<()> {
    file.write_all(text.as_bytes())?;
    if let Some(present) = present {
        let mine = file.metadata()?;
        if (mine.uid(), mine.gid()) != (present.uid(), present.gid()) {
            let (owner, group) = (Uid::from_raw(present.uid()), Gid::from_raw(present.gid()));
            let kept = fchown(&*file, Some(owner), Some(group));
            ensure!(kept.is_ok(), "it belongs to another user or group, which only root can keep");
        }
        // After the owner, for a change of owner takes some permissions away.
        file.set_permissions(Permissions::from_mode(present.mode() & 0o7777))?;
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::super::candidates::candidates;
    use super::super::topology::plain;
    use super::*;

    const POOL: &str = "# ours\n[pool]\nhost = \"pool.example\"\n";

    fn two_shards() -> Candidate {
        candidates(&plain(&[0, 1]), None).remove(1)
    }

    fn written(path: &Path) -> Result<(), Failure> {
        let candidate = two_shards();
        let (target, _) = Target::open(path, std::slice::from_ref(&candidate), Vec::new())?;
        target.write(&candidate)
    }

    #[test]
    fn a_file_keeps_its_text_its_permissions_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("farm.toml"), folder.path().join("link.toml"));
        fs::write(&path, POOL).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        written(&link).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(POOL) && text.contains("cpus = \"0-1\""), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.toml");
        written(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("worker_threads = 2"));
    }

    #[test]
    fn an_environment_that_overrides_the_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("farm.toml");
        fs::write(&path, POOL).unwrap();
        let told = |name: &str, value: &str| {
            let environment = vec![(name.into(), value.into())];
            Target::open(&path, &[two_shards()], environment).map(|(_, warnings)| warnings)
        };
        assert!(told("LOKA_SERVER_CPUS", "0-3").unwrap()[0].contains("no effect while the environment"));
        assert!(told("LOKA_SERVER_CPUS", "0-1").unwrap().is_empty());
        // Two shards do not fit on one CPU.
        assert!(matches!(told("LOKA_SERVER_CPUS", "3"), Err(Failure::Config(_))));
    }

    #[test]
    fn a_file_with_mistakes_is_refused_as_check_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("farm.toml");
        for bad in ["[server\n", "[pool]\nhost = \"p\"\nprot = 1\n", "[server]\nport = 1\n"] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(written(&path), Err(Failure::Config(_))), "{bad}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        assert!(matches!(written(folder.path()), Err(Failure::Config(_))), "a folder");
        assert!(matches!(written(Path::new("/dev/null")), Err(Failure::Run(_))));
        assert!(matches!(written(&folder.path().join("no/farm.toml")), Err(Failure::Run(_))));
    }
}
