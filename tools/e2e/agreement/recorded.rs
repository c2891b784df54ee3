//! What the share records hold: as `records` prints them, and as the tables of the file have them.

use crate::sources::account_of;
use crate::support::{finish, program};
use crate::truth::Figures;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;
use std::path::Path;

const COUNTS: [&str; 6] = ["accepted", "rejected", "refused", "unanswered", "lost", "difficulty"];

fn told(file: &Path, arguments: &[&str]) -> Value {
    let output = finish(program().arg("records").args(arguments).args(["--file", file.to_str().unwrap()]));
    // The file comes with the first record.
    if !output.status.success() {
        return Value::Null;
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

fn add(figures: &mut Figures, name: &str, value: f64) {
    *figures.entry(name.to_owned()).or_default() += value;
}

fn add_shares(figures: &mut Figures, told: &Value) {
    for what in COUNTS {
        add(figures, &format!("shares.{what}"), told[what].as_f64().unwrap_or(f64::NAN));
    }
}

/// Reasons of the pool are those of rejections, reasons of the proxy those of refusals.
fn family(side: &str) -> &'static str {
    if side == "pool" { "rejected" } else { "refused" }
}

fn add_reasons(figures: &mut Figures, reasons: &Value) {
    for reason in reasons.as_array().into_iter().flatten() {
        let name =
            format!("{}.{}", family(reason["side"].as_str().unwrap()), reason["reason"].as_str().unwrap());
        add(figures, &name, reason["count"].as_f64().unwrap());
    }
}

/// `records summary`.
pub(crate) fn summary(file: &Path) -> Figures {
    let told = told(file, &["summary", "--json"]);
    let mut figures = Figures::new();
    add_shares(&mut figures, &told);
    add_reasons(&mut figures, &told["reasons"]);
    figures
}

/// The mean that `records summary` tells.
pub(crate) fn hashrate(file: &Path) -> f64 {
    told(file, &["summary", "--json"])["hashrate"].as_f64().unwrap()
}

/// The minutes that the tables reach over.
pub(crate) fn minutes(file: &Path) -> f64 {
    let file = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    file.query_row("SELECT max(minute) - min(minute) + 1 FROM minutes", [], |row| row.get::<_, i64>(0))
        .unwrap() as f64
}

/// `records worker`, under the worker's name.
pub(crate) fn worker(file: &Path, name: &str) -> Figures {
    let told = told(file, &["worker", name, "--json"]);
    let mut figures = Figures::new();
    for what in COUNTS {
        add(&mut figures, &format!("worker.{name}.{what}"), told[what].as_f64().unwrap_or(f64::NAN));
    }
    let mut reasons = Figures::new();
    add_reasons(&mut reasons, &told["reasons"]);
    reasons.iter().for_each(|(reason, count)| add(&mut figures, &format!("worker.{name}.{reason}"), *count));
    figures
}

/// `records export`: rows of minutes added up, by worker and in all.
pub(crate) fn export(file: &Path) -> Figures {
    let rows = told(file, &["export", "--format", "json"]);
    let mut figures = Figures::new();
    for row in rows.as_array().into_iter().flatten() {
        add_shares(&mut figures, row);
        add_reasons(&mut figures, &row["reasons"]);
        let name = account_of(row["worker"].as_str());
        for what in COUNTS {
            add(&mut figures, &format!("worker.{name}.{what}"), row[what].as_f64().unwrap());
        }
    }
    figures
}

/// The single shares that came to nothing, counted.
pub(crate) fn events(file: &Path) -> Figures {
    let rows = told(file, &["export", "--format", "json", "--events"]);
    let mut figures = Figures::new();
    for row in rows.as_array().into_iter().flatten() {
        let family = family(row["side"].as_str().unwrap());
        add(&mut figures, &format!("shares.{family}"), 1.0);
        add(&mut figures, &format!("{family}.{}", row["reason"].as_str().unwrap()), 1.0);
        add(&mut figures, &format!("worker.{}.{family}", account_of(row["worker"].as_str())), 1.0);
    }
    figures
}

/// The tables, read by SQL of the test's own.
pub(crate) fn tables(file: &Path) -> Figures {
    let file = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut figures = Figures::new();
    let mut each = |sql: &str, take: &mut dyn FnMut(&mut Figures, &Row<'_>)| {
        let mut statement = file.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            take(&mut figures, row);
        }
    };
    each("SELECT w.name, m.* FROM minutes m JOIN workers w ON w.id = m.worker", &mut |figures, row| {
        let name: Option<String> = row.get(0).unwrap();
        for what in COUNTS {
            let value: f64 = match what {
                "difficulty" => row.get(what).unwrap(),
                _ => row.get::<_, i64>(what).unwrap() as f64,
            };
            add(figures, &format!("shares.{what}"), value);
            add(figures, &format!("worker.{}.{what}", account_of(name.as_deref())), value);
        }
    });
    let reasons = "SELECT w.name, r.side, r.name, m.count FROM minute_reasons m JOIN workers w ON w.id = m.worker \
                   JOIN reasons r ON r.id = m.reason";
    each(reasons, &mut |figures, row| {
        let (name, side, reason): (Option<String>, String, String) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
        let (count, reason) = (row.get::<_, i64>(3).unwrap() as f64, format!("{}.{reason}", family(&side)));
        add(figures, &reason, count);
        add(figures, &format!("worker.{}.{reason}", account_of(name.as_deref())), count);
    });
    figures
}
