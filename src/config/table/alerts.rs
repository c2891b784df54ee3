//! The keys of `[alerts]`.

use std::time::Duration;

use super::{HOUR, SECOND, days};
use crate::config::form::{Choice, Hidden, Switch, Text, Time, Whole};
use crate::config::key::Key;
use crate::config::sections::AlertFormat;
use crate::config::token::Token;
use crate::config::webhook::WebhookUrl;

const TEN_SECONDS: Duration = Duration::from_secs(10);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);

pub(in crate::config) static ALERTS_URL: Key<WebhookUrl> = Key::new(
    "alerts.url",
    WebhookUrl,
    (),
    "Where alerts are posted to. Empty means that there are none. Never printed or logged whole: with chat tools the path is \
     the secret.",
);

pub(in crate::config) static ALERTS_SECRET: Key<Token> = Key::new(
    "alerts.secret",
    Token(Hidden(Text { min: 16, max: 256 })),
    "",
    "What messages are signed with (HMAC-SHA256 over time and body, see ALERTS.md), so that the receiver knows who sent them \
     and when. Empty means that they are not signed. Never printed or logged.",
);

pub(in crate::config) static ALERTS_CA_FILE: Key<Text> = Key::new(
    "alerts.ca_file",
    Text { min: 0, max: 4096 },
    "",
    "PEM file of the authorities that may vouch for the receiver's certificate. Empty means those of the system.",
);

pub(in crate::config) static ALERTS_FORMAT: Key<Choice<AlertFormat>> = Key::new(
    "alerts.format",
    Choice { listed: AlertFormat::NAMES, accepted: &[] },
    AlertFormat::Json,
    "What a message looks like: that of ALERTS.md, or {\"text\": …} as Slack, Mattermost and others take it.",
);

pub(in crate::config) static ALERTS_SOURCE: Key<Text> = Key::new(
    "alerts.source",
    Text { min: 0, max: 128 },
    "",
    "What this proxy calls itself in its messages. Empty means the name of the host.",
);

pub(in crate::config) static ALERTS_POOLS: Key<Switch> = Key::new(
    "alerts.pools",
    Switch,
    true,
    "Tell of pools that are degraded or failed, and when none is left.",
);

pub(in crate::config) static ALERTS_SHARDS: Key<Switch> =
    Key::new("alerts.shards", Switch, true, "Tell of shards that are silent, panic or die.");

pub(in crate::config) static ALERTS_RESOURCES: Key<Switch> =
    Key::new("alerts.resources", Switch, true, "Tell when memory or file descriptors run short.");

pub(in crate::config) static ALERTS_SILENT_FOR: Key<Time> = Key::new(
    "alerts.silent_for",
    Time { min: Duration::ZERO, max: days(7) },
    TEN_MINUTES,
    "Tell of workers that had a share accepted, and then none for so long. 0s means never. One message names a few of them, \
     and how many there are.",
);

pub(in crate::config) static ALERTS_SILENT_FORGET: Key<Time> = Key::new(
    "alerts.silent_forget",
    Time { min: MINUTE, max: days(30) },
    days(1),
    "A worker that is silent for so long was taken away: it counts no more. Longer than silent_for.",
);

pub(in crate::config) static ALERTS_SILENT_MIN: Key<Whole> = Key::new(
    "alerts.silent_min",
    Whole { min: 1, max: 1_000_000 },
    1,
    "So many silent workers are worth a message.",
);

pub(in crate::config) static ALERTS_REJECT_PERCENT: Key<Whole> = Key::new(
    "alerts.reject_percent",
    Whole { min: 0, max: 100 },
    10,
    "Tell when so many percent of the shares within reject_window were rejected by pools or refused by the proxy. 0 means \
     never. Fewer than 20 shares say nothing.",
);

pub(in crate::config) static ALERTS_REJECT_WINDOW: Key<Time> = Key::new(
    "alerts.reject_window",
    Time { min: TEN_SECONDS, max: days(1) },
    TEN_MINUTES,
    "The time over which they are counted.",
);

pub(in crate::config) static ALERTS_FIRE_AFTER: Key<Time> = Key::new(
    "alerts.fire_after",
    Time { min: Duration::ZERO, max: HOUR },
    Duration::from_secs(30),
    "How long something is wrong before it is told. Silent workers and rejects have times of their own.",
);

pub(in crate::config) static ALERTS_RESOLVE_AFTER: Key<Time> = Key::new(
    "alerts.resolve_after",
    Time { min: Duration::ZERO, max: days(1) },
    Duration::from_secs(120),
    "How long it is right again before that is told.",
);

pub(in crate::config) static ALERTS_REPEAT: Key<Time> = Key::new(
    "alerts.repeat",
    Time { min: Duration::ZERO, max: days(30) },
    Duration::from_secs(4 * 3_600),
    "What stays wrong is told again so often. 0s means once.",
);

pub(in crate::config) static ALERTS_BATCH: Key<Time> = Key::new(
    "alerts.batch",
    Time { min: SECOND, max: TEN_MINUTES },
    Duration::from_secs(5),
    "At most one message is posted in this time; it holds all that is to be told.",
);
