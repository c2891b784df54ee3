-- The tables that share records of many hosts are put together in (FLEETS.md). A proxy makes them itself where its user may;
-- where it may not, the owner of the database runs this once. It changes nothing that is there.
CREATE TABLE IF NOT EXISTS loka_minutes (
    host text NOT NULL,
    file text NOT NULL,
    worker text NOT NULL,
    minute timestamptz NOT NULL,
    accepted bigint NOT NULL,
    rejected bigint NOT NULL,
    refused bigint NOT NULL,
    unanswered bigint NOT NULL,
    lost bigint NOT NULL,
    difficulty double precision NOT NULL,
    best double precision,
    PRIMARY KEY (host, file, worker, minute));
CREATE INDEX IF NOT EXISTS loka_minutes_by_time ON loka_minutes (minute);
CREATE TABLE IF NOT EXISTS loka_minute_reasons (
    host text NOT NULL,
    file text NOT NULL,
    worker text NOT NULL,
    minute timestamptz NOT NULL,
    side text NOT NULL,
    reason text NOT NULL,
    shares bigint NOT NULL,
    PRIMARY KEY (host, file, worker, minute, side, reason));
CREATE INDEX IF NOT EXISTS loka_minute_reasons_by_time ON loka_minute_reasons (minute);
CREATE TABLE IF NOT EXISTS loka_events (
    host text NOT NULL,
    file text NOT NULL,
    at timestamptz NOT NULL,
    number bigint NOT NULL,
    worker text NOT NULL,
    side text NOT NULL,
    reason text NOT NULL,
    pool text,
    difficulty double precision,
    waited_us bigint,
    share_difficulty double precision,
    hash text,
    PRIMARY KEY (host, file, at, number));
CREATE INDEX IF NOT EXISTS loka_events_by_time ON loka_events (at);
