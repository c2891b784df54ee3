//! The language of the golden dialogues.
//!
//! ```text
//! # text                 a comment
//! !policy key=value …    what holds for the session; before anything else. Keys: extranonce, user, password,
//!                        separators (each character is one), host, port, domain, handshake, idle, hold, answer,
//!                        jobs, submissions (durations). There is a second pool like it, for the account `second`
//! !include NAME          the steps of include/NAME.txt
//! !new                   another connection, held to the same policy unless another follows
//! > LINE                 the miner sends LINE and a line feed
//! >> LINE                the pool must get LINE and a line feed
//! < LINE                 the pool sends
//! << LINE                the miner must get
//! >| >>| <| <<|          the same without a line feed, with \r \n \t \0 \\ \xHH and {{COUNT*TEXT}}, in which \# is the
//!                        number of the repetition, from zero, as eight hexadecimal digits
//! >> =   << =            exactly what the other side sent last
//! !dial  !end LABEL  !alive            what the session wants done; nothing else may be wanted
//! !up POOL  !unreachable  !connect-timeout  !pool-eof  !pool-reset  !miner-eof  !drain TIME  !wait TIME
//! !count METRIC NUMBER                 a counter, a gauge, or something known of the miner
//! ```

use crate::common::Event;
use loka_proto::{Policy, PoolLoss, PoolPolicy, UserRule};
use std::path::Path;

/// One step with the place that says it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Do(Event),
    AtPool(Vec<u8>),
    AtMiner(Vec<u8>),
    Dial,
    End(String),
    Alive,
    Count(String, f64),
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Dialogue {
    pub(crate) policy: Policy,
    pub(crate) steps: Vec<Step>,
}

/// A file of dialogues, ready to be played any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) done: Vec<Dialogue>,
    policy: Policy,
    steps: Vec<Step>,
}

impl Script {
    pub(crate) fn read(path: &Path) -> Result<Script, String> {
        let mut script = Script { done: Vec::new(), policy: policy("")?, steps: Vec::new() };
        script.read_file(path)?;
        script.close();
        Ok(script)
    }

    /// For scripts that are part of a test.
    pub(crate) fn of(text: &str) -> Result<Script, String> {
        let mut script = Script { done: Vec::new(), policy: policy("")?, steps: Vec::new() };
        script.read_text(text, "text", Path::new("/nonexistent"))?;
        script.close();
        Ok(script)
    }

    fn close(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        self.done.push(Dialogue { policy: self.policy.clone(), steps });
    }

    fn read_file(&mut self, path: &Path) -> Result<(), String> {
        #[allow(clippy::disallowed_methods, reason = "the dialogues of a test are files")]
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.read_text(&text, &name, path.parent().unwrap_or(Path::new(".")))
    }

    fn read_text(&mut self, text: &str, name: &str, dir: &Path) -> Result<(), String> {
        for (number, line) in text.lines().enumerate() {
            let at = format!("{name}:{}", number + 1);
            let said = |what: String| format!("{at}: {what}");
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(settings) = line.strip_prefix("!policy ") {
                self.policy = policy(settings).map_err(said)?;
            } else if line == "!new" {
                self.close();
            } else if let Some(include) = line.strip_prefix("!include ") {
                self.read_file(&dir.join("include").join(format!("{include}.txt")))?;
            } else {
                let what = if line.starts_with('!') { directive(line) } else { self.speech(line) };
                self.steps.push(Step { what: what.map_err(said)?, at });
            }
        }
        Ok(())
    }

    fn speech(&self, line: &str) -> Result<What, String> {
        let (mark, rest) =
            line.split_at(line.find(|c| c != '<' && c != '>').ok_or("nothing behind the mark")?);
        let bytes = match rest.strip_prefix('|') {
            Some(raw) => unescape(raw.strip_prefix(' ').unwrap_or(raw))?,
            None => format!("{}\n", rest.strip_prefix(' ').ok_or("a blank is missing behind the mark")?)
                .into_bytes(),
        };
        let same = bytes == b"=\n";
        match mark {
            ">" => Ok(What::Do(Event::Miner(bytes))),
            "<" => Ok(What::Do(Event::Pool(bytes))),
            ">>" if same => {
                Ok(What::AtPool(self.last_said(|e| if let Event::Miner(b) = e { Some(b) } else { None })?))
            }
            "<<" if same => {
                Ok(What::AtMiner(self.last_said(|e| if let Event::Pool(b) = e { Some(b) } else { None })?))
            }
            ">>" => Ok(What::AtPool(bytes)),
            "<<" => Ok(What::AtMiner(bytes)),
            other => Err(format!("unknown mark {other:?}")),
        }
    }

    fn last_said(&self, by: impl Fn(&Event) -> Option<&Vec<u8>>) -> Result<Vec<u8>, String> {
        let said = |step: &Step| if let What::Do(event) = &step.what { by(event).cloned() } else { None };
        self.steps.iter().rev().find_map(said).ok_or_else(|| "nothing was sent before".to_owned())
    }
}

fn directive(line: &str) -> Result<What, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["!dial"] => What::Dial,
        ["!alive"] => What::Alive,
        ["!end", label] => What::End((*label).to_owned()),
        ["!up"] => What::Do(Event::PoolUp(0)),
        ["!up", pool] => {
            What::Do(Event::PoolUp(pool.parse().map_err(|_| format!("no number of a pool: {pool}"))?))
        }
        ["!unreachable"] => What::Do(Event::PoolDown(PoolLoss::Unreachable)),
        ["!connect-timeout"] => What::Do(Event::PoolDown(PoolLoss::ConnectTimeout)),
        ["!pool-eof"] => What::Do(Event::PoolDown(PoolLoss::Closed)),
        ["!pool-reset"] => What::Do(Event::PoolDown(PoolLoss::Reset)),
        ["!miner-eof"] => What::Do(Event::MinerEof),
        ["!drain", time] => What::Do(Event::Drain { us: micros(time)? }),
        ["!wait", time] => What::Do(Event::Wait { us: micros(time)? }),
        ["!count", metric, number] => {
            What::Count((*metric).to_owned(), number.parse().map_err(|_| format!("no number: {number}"))?)
        }
        _ => return Err(format!("unknown directive {line:?}")),
    })
}

fn micros(text: &str) -> Result<u64, String> {
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
    let found = units.iter().find_map(|(unit, us)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? * us));
    found.ok_or_else(|| format!("no duration: {text}"))
}

fn policy(settings: &str) -> Result<Policy, String> {
    let mut policy = Policy::default();
    let mut pool = PoolPolicy { host: "pool.example.com".into(), port: 3333, ..PoolPolicy::default() };
    let (mut user, mut password, mut separators) = ("", "", "._");
    for setting in settings.split_whitespace() {
        let (key, value) = setting.split_once('=').ok_or_else(|| format!("no key=value: {setting}"))?;
        match key {
            "extranonce" => pool.extranonce = value == "true",
            "user" => user = value,
            "password" => password = value,
            "separators" => separators = value,
            "host" => pool.host = value.into(),
            "port" => pool.port = value.parse().map_err(|_| format!("no port: {value}"))?,
            "handshake" => policy.handshake_us = micros(value)?,
            "idle" => policy.idle_us = micros(value)?,
            "hold" => policy.hold_us = micros(value)?,
            "answer" => policy.answer_us = micros(value)?,
            "jobs" => policy.jobs_us = micros(value)?,
            "submissions" => policy.submissions_us = micros(value)?,
            "domain" => pool.reconnect_domains.push(value.to_owned()),
            _ => return Err(format!("unknown key {key}")),
        }
    }
    let separators: Vec<String> = separators.chars().map(String::from).collect();
    pool.user = UserRule::new(user, password, &separators);
    // A second pool, with another account, for dialogues in which the first is lost.
    let second = PoolPolicy { user: UserRule::new("second", "", &separators), ..pool.clone() };
    policy.pools = vec![pool, second];
    Ok(policy)
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    if let Some((before, rest)) = text.split_once("{{")
        && let Some((count, rest)) = rest.split_once('*')
        && let Ok(count) = count.parse::<usize>()
    {
        let (repeated, after) = rest.split_once("}}").ok_or("`}}` is missing")?;
        let numbered = (0..count).map(|number| unescape(&repeated.replace("\\#", &format!("{number:08x}"))));
        let repeated = numbered.collect::<Result<Vec<_>, _>>()?.concat();
        return Ok([unescape(before)?, repeated, unescape(after)?].concat());
    }
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest[at + 1..].chars().next().ok_or("a lone backslash")?;
        let mut length = 2;
        match code {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let digits = rest.get(at + 2..at + 4).ok_or("\\x needs two digits")?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x needs two digits")?);
                length = 4;
            }
            other => return Err(format!("unknown escape \\{other}")),
        }
        rest = &rest[at + length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}
