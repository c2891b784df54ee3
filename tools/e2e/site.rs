//! A proxy whose configuration is all in one file, which a test writes again while it runs. It knows nothing of what stands there.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::support::{Proxy, free_port, program, raise_open_files};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

pub(crate) struct Site {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Site {
    /// With these sections in its file.
    pub(crate) fn new(sections: &str) -> Site {
        raise_open_files();
        let here = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let site = Site { folder: TempDir::new().unwrap(), address: here(), metrics: here() };
        site.write(sections);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, sections: &str) {
        std::fs::write(self.path("config.toml"), sections).unwrap();
    }

    /// A command, with this file and what else it and the proxy must have alike.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).arg("--config").arg(self.path("config.toml"));
        for set in [
            format!("server.port={}", self.address.port()),
            "server.address=127.0.0.1".to_owned(),
            format!("metrics.prometheus_port={}", self.metrics.port()),
            "logging.enable_file_logging=true".to_owned(),
            format!("logging.log_file={}", self.path("proxy.log").display()),
        ] {
            command.args(["--set", &set]);
        }
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Proxy {
        Proxy::ready(self.command(&["run"]).args(arguments), self.address, self.metrics)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("proxy.log")).unwrap_or_default()
    }
}
