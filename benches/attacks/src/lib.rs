//! Attackers of our own, for tests and for a bench of what honest miners notice of them.
//!
//! They know nothing of the proxy but where it listens, and refuse to attack anything but this machine.

mod bench;
mod conduct;
mod crew;
mod documents;
mod proxy;
mod table;
mod trial;

pub use bench::main;
pub use conduct::{Conduct, HALF_LINE_BYTES};
pub use crew::{Crew, CrewConfig, CrewReport};
pub use documents::malformed;
