//! A PostgreSQL of the test's own, from the packages of the host: started, killed, frozen and asked. It lives on the loopback,
//! in a folder that goes with it.

use crate::support::{finish, free_port, until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Set to 1 by whoever knows that no PostgreSQL is there, and runs the other tests all the same.
const WITHOUT: &str = "LOKA_TEST_WITHOUT_POSTGRES";
/// What Debian and others call nobody: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
pub(crate) const PASSWORD: &str = "hunter2/@:?";

/// A running database, or one that was.
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    pub(crate) port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

/// Where the programs are; `None` when the test may be left out.
fn programs() -> Option<PathBuf> {
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = packaged.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let has_all =
        |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).exists());
    let found = folders.into_iter().find(has_all);
    if found.is_none() {
        assert!(
            std::env::var_os(WITHOUT).is_some_and(|value| value == "1"),
            "this test needs PostgreSQL (apt install postgresql); {WITHOUT}=1 leaves it out"
        );
        // Past the capture of the test's output: a test that passes would say it to nobody.
        let _ = writeln!(std::io::stderr(), "LEFT OUT: there is no PostgreSQL, and {WITHOUT}=1");
    }
    found
}

fn as_nobody(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

impl Postgres {
    /// A new one with a database `loka` and a user of that name and [`PASSWORD`] who owns it; `None` where the test may be
    /// left out.
    pub(crate) fn start() -> Option<Postgres> {
        let programs = programs()?;
        let folder = tempfile::tempdir().unwrap();
        let give = |path: &Path| {
            if rustix::process::geteuid().is_root() {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        };
        give(folder.path());
        let secret = folder.path().join("password");
        std::fs::write(&secret, PASSWORD).unwrap();
        give(&secret);
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args([
            "--no-sync",
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb.arg(format!("--pwfile={}", secret.display())).arg("-D").arg(folder.path().join("data"));
        let made = finish(as_nobody(initdb.current_dir(folder.path())));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = Postgres { folder, programs, port: free_port(), options: Vec::new(), child: None };
        postgres.run();
        postgres.admin(&format!("CREATE ROLE loka LOGIN PASSWORD '{PASSWORD}'"));
        postgres.admin("CREATE DATABASE loka OWNER loka");
        Some(postgres)
    }

    /// Starts it again, and waits until it answers.
    pub(crate) fn run(&mut self) {
        self.spawn();
        until("the database answers", || self.try_ask("postgres", "postgres", "SELECT 1").is_some());
    }

    /// Starts it and does not wait.
    fn spawn(&mut self) {
        let data = self.folder.path().join("data");
        let mut command = Command::new(self.programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-p").arg(self.port.to_string());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=20"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.folder.path().display()));
        for option in &self.options {
            command.args(["-c", option]);
        }
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(self.folder.path());
        self.child = Some(as_nobody(&mut command).spawn().unwrap());
    }

    /// Ends it at once, with all its processes: it notices that its first one has gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Immediate shutdown: no goodbye to anybody, and recovery at the next start.
            kill_process(Pid::from_child(&child), Signal::QUIT).unwrap();
            child.wait().unwrap();
        }
    }

    /// Speaks TLS from the next start on, with this certificate and key.
    pub(crate) fn with_tls(&mut self, certificate: &str, key: &str) {
        use std::os::unix::fs::PermissionsExt;
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.folder.path().join("data").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if rustix::process::geteuid().is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        self.options.push("ssl=on".to_owned());
    }

    /// The address for a user, with a password as it is written in one.
    pub(crate) fn url(&self, user: &str, password: &str, mode: &str) -> String {
        let port = self.port;
        let password =
            password.replace('%', "%25").replace('/', "%2F").replace('@', "%40").replace('?', "%3F");
        format!("postgres://{user}:{password}@127.0.0.1:{port}/loka?sslmode={mode}")
    }

    /// The same by the socket.
    pub(crate) fn url_of_socket(&self) -> String {
        let (port, folder) = (self.port, self.folder.path().display());
        format!("postgres://loka:hunter2%2F%40:%3F@:{port}/loka?host={folder}")
    }

    /// What the owner of the cluster does.
    pub(crate) fn admin(&self, sql: &str) -> String {
        self.try_ask("postgres", "postgres", sql).unwrap_or_else(|| panic!("{sql}: {}", self.log()))
    }

    /// What the owner of the tables asks.
    pub(crate) fn ask(&self, sql: &str) -> String {
        self.try_ask("loka", "loka", sql).unwrap_or_else(|| panic!("{sql}: {}", self.log()))
    }

    /// What a user of a database is told; `None` for an error.
    pub(crate) fn try_ask(&self, user: &str, database: &str, sql: &str) -> Option<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "5");
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
        ]);
        psql.args(["-U", user, "-d", database, "-c", sql]);
        let told = finish(&mut psql);
        told.status.success().then(|| String::from_utf8(told.stdout).unwrap().trim().to_owned())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
