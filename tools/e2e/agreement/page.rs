//! What a person reads on the dashboard: the page in headless Chromium, by the texts of its elements.

use crate::support::{Proxy, finish};
use crate::truth::Figures;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Waits until the page has heard a snapshot and shows the workers that are looked for; then tells what stands there.
const SCRIPT: &str = r#"
new Promise((done) => {
  const at = (id) => document.getElementById(id);
  const rows = (id) => [...at(id).tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  const search = () => {
    at("workers-search").value = "odd.";
    at("workers-search").dispatchEvent(new Event("input"));
  };
  const look = () => {
    const workers = rows("workers");
    const isHeard = at("accepted-more").textContent.includes("since the start");
    if (isHeard && workers.length > 1 && workers.every((row) => row[0].startsWith("odd."))) {
      const texts = ["miners", "miners-more", "accepted-more", "rejected", "answer"].map((id) => [id, at(id).textContent]);
      const tables = ["pools", "reasons", "ended"].map((id) => [id, rows(id)]);
      done(JSON.stringify({ ...Object.fromEntries([...texts, ...tables]), workers }));
    } else {
      if (isHeard && at("workers-search").value === "") search();
      setTimeout(look, 50);
    }
  };
  look();
})"#;

/// What the page shows; nothing where there is no Chromium or no Python.
pub(crate) fn shown(proxy: &Proxy) -> Option<Value> {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !["chromium", "python3"].into_iter().all(is_there) {
        return None;
    }
    let picture = tempfile::NamedTempFile::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/screenshot/screenshot.py");
    let url = format!("http://{}/", proxy.metrics);
    let mut command = Command::new("python3");
    command.arg(script).args(["--url", &url, "--seconds", "0.5", "--run", SCRIPT]).arg(picture.path());
    let output = finish(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_str(text.lines().next().unwrap()).unwrap())
}

/// A count as the page writes it.
fn count(text: &str) -> Option<f64> {
    let number = text.split([' ', '\u{a0}']).next()?;
    number.replace(',', "").parse().ok()
}

/// The figures that stand there, under the names of the truth.
pub(crate) fn figures(page: &Value) -> Figures {
    let text = |id: &str| page[id].as_str().unwrap();
    let mut figures = Figures::new();
    let mut put = |name: String, value: Option<f64>| {
        figures.insert(name, value.unwrap_or(f64::NAN));
    };
    put("connections.active".to_owned(), count(text("miners")));
    put("workers".to_owned(), count(text("miners-more")));
    put("shares.accepted".to_owned(), count(text("accepted-more")));
    let rows = |id: &str| -> Vec<Vec<String>> { serde_json::from_value(page[id].clone()).unwrap() };
    for row in rows("reasons") {
        let family = if row[1] == "pool" { "rejected" } else { "requests" };
        put(format!("{family}.{}", row[0].replace(' ', "_")), count(&row[2]));
    }
    for row in rows("ended") {
        put(format!("ended.{}", row[0].replace(' ', "_")), count(&row[1]));
    }
    for row in rows("pools") {
        put("shares.rejected".to_owned(), count(&row[6]));
        assert_eq!(count(&row[5]), count(text("accepted-more")), "{row:?}");
    }
    for row in rows("workers") {
        for (what, column) in [("accepted", 5), ("rejected", 6), ("refused", 7), ("connections", 12)] {
            put(format!("worker.{}.{what}", row[0]), count(&row[column]));
        }
    }
    figures
}

/// Checks what is made of several figures.
pub(crate) fn check_made(page: &Value, truth: &Figures) {
    let bad = truth["shares.rejected"] + truth["shares.refused"];
    let part = format!("{:.2}\u{a0}%", 100.0 * bad / (bad + truth["shares.accepted"]));
    assert_eq!(page["rejected"], part);
    let rows: Vec<Vec<String>> = serde_json::from_value(page["workers"].clone()).unwrap();
    for row in rows {
        let of = |what: &str| truth[&format!("worker.{}.{what}", row[0])];
        assert_eq!(count(&row[8]), Some(of("unanswered") + of("lost")), "{row:?}");
    }
}
