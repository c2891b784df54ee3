//! What the host gives, and whether it is enough: read in one place, judged in another.

use crate::config::{Config, Database};
use crate::records::CentralError;
use crate::supervisor;
use loka_runtime::limits::BACKLOG;
use loka_runtime::preflight::{self, Parts, PreflightError};
use rustix::process::{Resource, getrlimit};

/// The oldest kernel that has all that glommio asks of io_uring.
const KERNEL_MIN: (u32, u32) = (5, 8);

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    Ok,
    /// It works, and could work better or longer.
    Warn,
    /// The proxy does not start like this.
    Bad,
}

impl Grade {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One line of the host's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) grade: Grade,
    pub(super) value: String,
    /// What to do; empty when there is nothing to do.
    pub(super) fix: String,
}

impl Check {
    fn new(name: &'static str, grade: Grade, value: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, grade, value: value.into(), fix: fix.into() }
    }

    fn fine(name: &'static str, value: impl Into<String>) -> Check {
        Check::new(name, Grade::Ok, value, "")
    }

    /// The database that share records are sent to. Miners work without it.
    pub(super) fn of_database(database: &Database, error: Option<&CentralError>) -> Check {
        const NAME: &str = "records database";
        let Some(error) = error else { return Check::fine(NAME, database.to_string()) };
        let text = error.to_string();
        let (cause, fix) = text.split_once("\n  fix: ").unwrap_or((&text, ""));
        Check::new(NAME, Grade::Warn, format!("{database}: {cause}"), fix)
    }

    /// The text of the preflight has its own fix in its last line.
    fn refused(name: &'static str, error: &PreflightError) -> Check {
        let text = error.to_string();
        let (cause, fix) = text.split_once("\n  fix: ").unwrap_or((&text, ""));
        Check::new(name, Grade::Bad, cause, fix)
    }
}

/// What was read of the host. `None`: this kernel does not have it, or does not show it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    kernel: String,
    parts: Parts,
    memlock: Option<u64>,
    somaxconn: Option<u64>,
    syn_backlog: Option<u64>,
    local_ports: Option<(u64, u64)>,
    migrate_req: Option<u64>,
    io_uring_disabled: Option<u64>,
}

impl Facts {
    /// Raises the soft limits of this process on the way, as a start of the proxy would.
    pub(super) fn read(config: &Config) -> Facts {
        let shards = supervisor::place(config).map_or(1, |specs| specs.len());
        let parts = preflight::parts(shards);
        let number = |path| first_numbers(path)?.first().copied();
        let ports = first_numbers("net/ipv4/ip_local_port_range");
        Facts {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            parts,
            memlock: getrlimit(Resource::Memlock).current,
            somaxconn: number("net/core/somaxconn"),
            syn_backlog: number("net/ipv4/tcp_max_syn_backlog"),
            local_ports: ports.and_then(|ports| Some((*ports.first()?, *ports.get(1)?))),
            migrate_req: number("net/ipv4/tcp_migrate_req"),
            io_uring_disabled: number("kernel/io_uring_disabled"),
        }
    }
}

fn first_numbers(sysctl: &str) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/sys/{sysctl}")).ok()?;
    Some(text.split_whitespace().map_while(|word| word.parse().ok()).collect())
}

/// What the configuration asks of the host.
#[derive(Debug, Clone)]
pub(super) struct Wants {
    /// The CPUs of the shards, or why they cannot be had.
    shards: Result<Vec<usize>, String>,
    /// Miners at one time; `None`: as many as will fit.
    miners: Option<u64>,
}

impl Wants {
    pub(super) fn of(config: &Config) -> Wants {
        let specs = supervisor::place(config).map_err(|error| error.to_string());
        Wants {
            shards: specs.map(|specs| specs.iter().map(|spec| spec.cpu).collect()),
            miners: config.server.max_connections.map(|miners| u64::from(miners.get())),
        }
    }
}

/// Every check, in the order in which a start of the proxy would meet them, then what only a crowd meets.
pub(super) fn judge(facts: &Facts, wants: &Wants) -> Vec<Check> {
    vec![
        kernel(&facts.kernel),
        shards(wants),
        io_uring_sysctl(facts.io_uring_disabled),
        match &facts.parts.io_uring {
            Ok(()) => Check::fine("io_uring", "works"),
            Err(error) => Check::refused("io_uring", error),
        },
        match &facts.parts.memlock {
            Ok(()) => Check::fine("locked memory", kib(facts.memlock)),
            Err(error) => Check::refused("locked memory", error),
        },
        open_files(facts, wants),
        at_least(
            "net.core.somaxconn",
            facts.somaxconn,
            "connections wait in the queue of a listener",
            "when a whole farm connects at once, the rest must try again",
        ),
        at_least(
            "net.ipv4.tcp_max_syn_backlog",
            facts.syn_backlog,
            "half-open connections",
            "a farm that connects at once looks like an attack to the kernel",
        ),
        local_ports(facts, wants),
        migrate_req(facts.migrate_req),
    ]
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL_MIN => Check::fine("kernel", release),
        (Some(Ok(_)), Some(Ok(_))) => {
            let fix = format!("run Linux {}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1);
            Check::new("kernel", Grade::Bad, format!("{release} is too old for io_uring as it is used"), fix)
        }
        (_, _) => {
            Check::new("kernel", Grade::Warn, format!("{release}: not a version that is understood"), "")
        }
    }
}

fn shards(wants: &Wants) -> Check {
    match &wants.shards {
        Ok(cpus) => {
            let ids: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            Check::fine("shards", format!("{} on CPU {}", cpus.len(), ids.join(",")))
        }
        Err(error) => {
            let fix = "compare server.cpus and performance.worker_threads with the CPUs this process may use";
            Check::new("shards", Grade::Bad, error, fix)
        }
    }
}

fn io_uring_sysctl(value: Option<u64>) -> Check {
    const NAME: &str = "kernel.io_uring_disabled";
    const FIX: &str = "sysctl -w kernel.io_uring_disabled=0";
    match value {
        None => Check::fine(NAME, "this kernel has no such switch"),
        Some(0) => Check::fine(NAME, "0"),
        Some(1) => Check::new(
            NAME,
            Grade::Warn,
            "1: only with CAP_SYS_ADMIN or in the group of kernel.io_uring_group",
            FIX,
        ),
        Some(more) => Check::new(NAME, Grade::Bad, format!("{more}: nobody may use io_uring"), FIX),
    }
}

fn kib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

fn open_files(facts: &Facts, wants: &Wants) -> Check {
    const NAME: &str = "open files";
    let found = match &facts.parts.open_files {
        Ok(found) => found,
        Err(error) => return Check::refused(NAME, error),
    };
    let value = format!("{}, enough for {} miners", found.open_files, found.connections_max);
    match wants.miners.filter(|miners| *miners > found.connections_max) {
        None => Check::fine(NAME, value),
        Some(miners) => {
            // Two for each miner, and as many again as the proxy itself may need.
            let need = (2 * miners + 1024).next_power_of_two();
            let value = format!("{value}; server.max_connections is {miners}");
            Check::new(
                NAME,
                Grade::Warn,
                value,
                format!("LimitNOFILE={need} in the systemd unit, or `ulimit -n {need}`"),
            )
        }
    }
}

/// A queue that should be no shorter than what the listeners ask for.
fn at_least(name: &'static str, value: Option<u64>, what: &str, otherwise: &str) -> Check {
    let wanted = u64::try_from(BACKLOG).unwrap_or(0);
    match value {
        None => Check::new(name, Grade::Warn, "cannot be read here", ""),
        Some(value) if value >= wanted => Check::fine(name, value.to_string()),
        Some(value) => {
            let text = format!("at most {value} {what}, and {wanted} are asked for: {otherwise}");
            Check::new(name, Grade::Warn, text, format!("sysctl -w {name}={wanted}"))
        }
    }
}

fn local_ports(facts: &Facts, wants: &Wants) -> Check {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    const FIX: &str = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\" (keep the ports that listen out of it with \
                       net.ipv4.ip_local_reserved_ports), or a pool with more addresses";
    let Some((first, last)) = facts.local_ports else {
        return Check::new(NAME, Grade::Warn, "cannot be read here", "");
    };
    let ports = (last + 1).saturating_sub(first);
    let value = format!("{first} {last}: {ports} miners for each address of a pool");
    match wants.miners.filter(|miners| *miners > ports) {
        None => Check::fine(NAME, value),
        Some(miners) => {
            Check::new(NAME, Grade::Warn, format!("{value}; server.max_connections is {miners}"), FIX)
        }
    }
}

fn migrate_req(value: Option<u64>) -> Check {
    const NAME: &str = "net.ipv4.tcp_migrate_req";
    match value {
        None => Check::fine(NAME, "this kernel has no such switch"),
        Some(0) => Check::new(
            NAME,
            Grade::Warn,
            "0: connections in the queue of a listener that closes are reset, although others listen",
            "sysctl -w net.ipv4.tcp_migrate_req=1",
        ),
        Some(value) => Check::fine(NAME, value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loka_runtime::preflight::Preflight;

    fn good() -> (Facts, Wants) {
        let open_files = Ok(Preflight { connections_max: 500, open_files: 1200 });
        let facts = Facts {
            kernel: "6.8.0-47-generic".to_owned(),
            parts: Parts { io_uring: Ok(()), memlock: Ok(()), open_files },
            memlock: None,
            somaxconn: Some(4096),
            syn_backlog: Some(8192),
            local_ports: Some((32768, 60999)),
            migrate_req: Some(1),
            io_uring_disabled: Some(0),
        };
        (facts, Wants { shards: Ok(vec![2, 3]), miners: None })
    }

    #[track_caller]
    fn expect(facts: &Facts, wants: &Wants, name: &str, grade: Grade, words: &[&str]) {
        let checks = judge(facts, wants);
        for check in &checks {
            let expected = if check.name == name { grade } else { Grade::Ok };
            assert_eq!(check.grade, expected, "{check:?}");
        }
        let check = checks.iter().find(|check| check.name == name).unwrap();
        let text = format!("{} fix: {}", check.value, check.fix);
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }

    #[test]
    fn a_good_host_has_nothing_to_fix() {
        let (facts, wants) = good();
        assert!(judge(&facts, &wants).iter().all(|check| check.fix.is_empty()));
        expect(&facts, &wants, "shards", Grade::Ok, &["2 on CPU 2,3"]);
        expect(&facts, &wants, "locked memory", Grade::Ok, &["unlimited"]);
        expect(&facts, &wants, "net.ipv4.ip_local_port_range", Grade::Ok, &["28232 miners"]);
    }

    #[test]
    fn each_shortage_is_named_with_its_fix() {
        use Grade::{Bad, Warn};
        let with = |change: fn(&mut Facts)| {
            let (mut facts, _) = good();
            change(&mut facts);
            facts
        };
        let (_, wants) = good();
        let old = with(|facts| facts.kernel = "5.4.0".to_owned());
        expect(&old, &wants, "kernel", Bad, &["5.4.0", "5.8"]);
        expect(&with(|facts| facts.kernel = "odd".to_owned()), &wants, "kernel", Warn, &["odd"]);
        let missing = with(|facts| facts.parts.io_uring = Err(PreflightError::Missing));
        expect(&missing, &wants, "io_uring", Bad, &["no io_uring", "fix: run Linux"]);
        let memlock = PreflightError::Memlock { limit: 64, need: 512, shards: 2 };
        let little = with(|facts| {
            facts.parts.memlock = Err(PreflightError::Memlock { limit: 64, need: 512, shards: 2 })
        });
        expect(&little, &wants, "locked memory", Bad, &["64 KiB", "LimitMEMLOCK"]);
        assert!(memlock.to_string().contains("\n  fix: "), "the text can be told from its fix");
        let disabled = with(|facts| facts.io_uring_disabled = Some(2));
        expect(&disabled, &wants, "kernel.io_uring_disabled", Bad, &["nobody", "sysctl"]);
        let queue = with(|facts| facts.somaxconn = Some(128));
        expect(&queue, &wants, "net.core.somaxconn", Warn, &["128", "somaxconn=4096"]);
        let syn = with(|facts| facts.syn_backlog = Some(256));
        expect(&syn, &wants, "net.ipv4.tcp_max_syn_backlog", Warn, &["256", "backlog=4096"]);
        let unknown = with(|facts| facts.local_ports = None);
        expect(&unknown, &wants, "net.ipv4.ip_local_port_range", Warn, &["cannot be read"]);
        let migrate = with(|facts| facts.migrate_req = Some(0));
        expect(&migrate, &wants, "net.ipv4.tcp_migrate_req", Warn, &["req=1"]);
        let nowhere = Wants { shards: Err("CPU 1000 is not allowed".to_owned()), miners: None };
        expect(&good().0, &nowhere, "shards", Bad, &["CPU 1000", "server.cpus"]);
    }

    #[test]
    fn a_farm_that_is_larger_than_the_host_is_warned_of() {
        let (mut facts, mut wants) = good();
        wants.miners = Some(501);
        expect(&facts, &wants, "open files", Grade::Warn, &["500", "501", "LimitNOFILE=2048"]);
        facts.parts.open_files = Ok(Preflight { connections_max: 500_000, open_files: 1_048_576 });
        wants.miners = Some(28_233);
        expect(
            &facts,
            &wants,
            "net.ipv4.ip_local_port_range",
            Grade::Warn,
            &["28232", "28233", "1024 65535"],
        );
    }

    #[test]
    fn this_host_can_be_read() {
        let config = Config::for_pool("127.0.0.1:9".parse().unwrap());
        let facts = Facts::read(&config);
        assert!(
            !facts.kernel.is_empty() && facts.somaxconn.is_some() && facts.local_ports.is_some(),
            "{facts:?}"
        );
    }
}
