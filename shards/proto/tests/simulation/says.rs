//! The words of miners and pools: the same message in the layouts that are seen in the field.

use crate::rng::Rng;
use loka_proto::UserRule;

/// Whose account the miners work for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    Own,
    Farm,
    FarmWithPassword,
}

impl Account {
    pub(crate) const ALL: [Account; 3] = [Account::Own, Account::Farm, Account::FarmWithPassword];

    pub(crate) fn rule(self) -> UserRule {
        let separators = [".".to_owned(), "_".to_owned()];
        match self {
            Account::Own => UserRule::default(),
            Account::Farm => UserRule::new("farm", "", &separators),
            Account::FarmWithPassword => UserRule::new("farm", "secret", &separators),
        }
    }

    /// The user's name as the pool must see it.
    pub(crate) fn user_seen(self, user: &str) -> String {
        if self == Account::Own {
            return user.to_owned();
        }
        let from = user.find('.').or_else(|| user.find('_')).unwrap_or(user.len());
        format!("farm{}", &user[from..])
    }

    /// What stands behind the user's name in an authorize, as the pool must see it.
    pub(crate) fn password_seen(self, password: &str) -> &str {
        match self {
            Account::Own | Account::Farm => password,
            // Only the password itself is replaced, not the blank before it.
            Account::FarmWithPassword if password.starts_with(", ") => ", \"secret\"",
            Account::FarmWithPassword => ",\"secret\"",
        }
    }
}

/// A request in one of the layouts in which firmware writes them. `id`: as written, or none at all.
pub(crate) fn request(layout: u64, id: Option<&str>, method: &str, params: &str, tag: usize) -> String {
    let id = |before: &str, after: &str| id.map_or(String::new(), |id| format!("{before}\"id\":{id}{after}"));
    match layout % 5 {
        0 => format!("{{{}\"method\":\"{method}\",\"params\":{params},\"tag\":{tag}}}\n", id("", ",")),
        1 => {
            format!("{{{}\"method\": \"{method}\", \"params\": {params}, \"tag\": {tag}}}\r\n", id("", ", "))
        }
        2 => format!("{{\"params\":{params},{}\"method\":\"{method}\",\"tag\":{tag}}}\n", id("", ",")),
        3 => format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"tag\":{tag},\"params\":{params}{}}}\n",
            id(",", "")
        ),
        _ => format!(
            "{{ {}\"worker\":\"rig\",\"method\":\"{method}\" ,\"params\":{params},\"tag\":{tag}}} \n",
            id("", " , ")
        ),
    }
}

/// An answer of a pool.
pub(crate) fn answer(layout: u64, id: &str, result: &str, error: &str, tag: usize) -> Vec<u8> {
    let line = match layout % 5 {
        0 => format!("{{\"id\":{id},\"result\":{result},\"error\":{error},\"echo\":{tag}}}\n"),
        1 => format!("{{\"error\": {error}, \"result\": {result}, \"id\": {id}, \"echo\": {tag}}}\r\n"),
        2 if error == "null" => format!("{{\"result\":{result},\"echo\":{tag},\"id\":{id}}}\n"),
        3 => format!(
            "{{\"reject-reason\":null,\"id\":{id} ,\"error\":{error},\"echo\":{tag},\"result\":{result}}}\n"
        ),
        _ => format!(
            "{{\"echo\":{tag},\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error},\"result\":{result}}}\n"
        ),
    };
    line.into_bytes()
}

/// A line that the proxy must refuse whatever its chain, and the id of the refusal.
pub(crate) fn bad_line(rng: &mut Rng, id: &str, tag: usize) -> (Vec<u8>, String) {
    let null = "null".to_owned();
    let deep = format!("{}{}", "[".repeat(20), "]".repeat(20));
    let (line, id) = match rng.below(15) {
        0 => ("not json\n".to_owned(), null),
        1 => ("[1,2]\n".to_owned(), null),
        2 => (format!("{{\"id\":7,\"id\":8,\"method\":\"mining.ping\",\"tag\":{tag}}}\n"), null),
        3 => (format!("{{\"id\":[1],\"method\":\"mining.ping\",\"tag\":{tag}}}\n"), null),
        4 => (format!("{{\"id\":{id},\"params\":[],\"tag\":{tag}}}\n"), id.to_owned()),
        5 => (submit(id, "[\"a.b\",\"1\",\"00000000\",\"65\"]", tag), id.to_owned()),
        6 => (submit(id, "[\"a.b\",\"1\",\"00000000\",\"65\",-7]", tag), id.to_owned()),
        7 => (submit(id, "[\"a.b\",\"1\",\"00000000\",1.5,\"7\"]", tag), id.to_owned()),
        8 => (submit(id, "[\"a.b\",\"\",\"0000\",\"65\",\"7\"]", tag), id.to_owned()),
        9 => (request(0, Some(id), "mining.authorize", "[\"a\\u0001b\",\"x\"]", tag), id.to_owned()),
        10 => (request(2, Some(id), "mining.authorize", "[]", tag), id.to_owned()),
        11 => (request(1, Some(id), "mining.deep", &deep, tag), null),
        13 => {
            (request(0, Some(id), &format!("mining.auth{}", "o".repeat(60)), "[\"a.b\"]", tag), id.to_owned())
        }
        12 => (format!("{{\"id\":{id},\"method\":5,\"tag\":{tag}}}\n"), id.to_owned()),
        _ => {
            let mut line = request(0, Some(id), "mining.ping", "[\"?\"]", tag).into_bytes();
            let at = line.iter().position(|byte| *byte == b'?').expect("just written");
            line[at] = 0xff;
            return (line, null);
        }
    };
    (line.into_bytes(), id)
}

fn submit(id: &str, params: &str, tag: usize) -> String {
    request(0, Some(id), "mining.submit", params, tag)
}

/// A notify of the usual shape and sizes. Shares name the job by its number; the coinbase tells a miner, who may see another
/// name, which job of which pool connection it is.
pub(crate) fn notify(layout: u64, generation: u32, job: u64, clean_jobs: bool) -> Vec<u8> {
    let hash = "7c".repeat(32);
    let ntime = 0x65a1_b2c3 + job;
    let params = format!(
        "[\"{job:x}\",\"{hash}\",\"{generation:08x}\",\"{job:08x}\",[\"{hash}\",\"{hash}\"],\"20000000\",\"17034219\",\"{ntime:08x}\""
    );
    let line = match layout % 3 {
        0 => format!("{{\"id\":null,\"method\":\"mining.notify\",\"params\":{params},{clean_jobs}]}}\n"),
        1 => format!("{{\"method\":\"mining.notify\",\"params\":{params},\"extra\",{clean_jobs}]}}\n"),
        _ => format!(
            "{{\"params\": {params}, {clean_jobs}], \"id\": null, \"method\": \"mining.notify\"}}\r\n"
        ),
    };
    line.into_bytes()
}

/// Messages of a pool that must not reach a miner, and leave the link as it was.
pub(crate) fn filtered(rng: &mut Rng) -> &'static [u8] {
    rng.pick(&[
        b"{\"id\":5,\"method\":\"mining.hashrate\",\"params\":[]}\n".as_slice(),
        b"{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"a\\nb\"]}\n",
        b"{\"id\":5,\"method\":\"mining.ping\",\"params\":[{}]}\n",
        b"{\"id\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"method\":\"mining.ping\"}\n",
        b"{\"id\":999999999,\"result\":true,\"error\":null}\n",
        b"{\"id\":null}\n",
        b"{\"method\":\"mining.notify\",\"params\":[\"x\",\"y\",true]}\n",
        b"{\"method\":\"mining.notify\",\"params\":[]}\n",
        b"{\"method\":\"mining.notify\",\"params\":[\"1\",\"00ff\",\"01\",\"ff\",[],\"20000000\",\"1\",\"6\",true]}\n",
        b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[0]}\n",
        b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[\"8\"]}\n",
        b"{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"xyz\",4]}\n",
        b"{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"nothex\"]}\n",
        b"{\"id\":null,\"method\":\"client.reconnect\",\"params\":[\"evil.example\",3333,0]}\n",
    ])
}
