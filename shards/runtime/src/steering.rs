//! Which shard gets a new connection: by the kernel's hash of its addresses, or by the CPU that received it.
//!
//! The kernel's hash spreads many miners evenly and knows nothing of CPUs. Where the network card's queues are bound to the
//! shards' CPUs, a connection can stay on the CPU that its packets arrive at: a classic BPF program on the reuseport
//! group gives the number of that CPU's shard. A packet that another CPU received is hashed as before.

use crate::plan::ShardSpec;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How new connections are spread over the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Steering {
    /// By the kernel's hash of the addresses and ports.
    #[default]
    Hash,
    /// To the shard of the CPU that received the connection.
    Cpu,
}

/// Loads the number of the CPU that handles the packet.
const LOAD_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
/// More than any shard has: the kernel then takes its hash.
const NO_SHARD: u32 = u32::MAX;

fn load(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k }
}

/// Goes on with the next instruction when the CPU is this one, else jumps over it.
fn if_cpu(cpu: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k: cpu }
}

fn give(shard: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: shard }
}

/// The program for these shards, whose sockets were bound in this order.
fn program(shards: &[ShardSpec]) -> Vec<libc::sock_filter> {
    let mut program = vec![load(LOAD_CPU)];
    for shard in shards {
        let number = |index| u32::try_from(index).unwrap_or(NO_SHARD);
        program.push(if_cpu(number(shard.cpu)));
        program.push(give(number(shard.index)));
    }
    program.push(give(NO_SHARD));
    program
}

/// Steers the reuseport group that `listener` is one of to the shard of the CPU.
///
/// # Errors
/// `InvalidInput` where two shards share a CPU, since the second would get nobody, or there are more than a program can
/// name; otherwise the system's error.
pub(crate) fn by_cpu(listener: impl AsFd, shards: &[ShardSpec]) -> io::Result<()> {
    let mut cpus: Vec<usize> = shards.iter().map(|shard| shard.cpu).collect();
    cpus.sort_unstable();
    if let Some(pair) = cpus.windows(2).find(|pair| pair[0] == pair[1]) {
        let text = format!("steering by CPU needs a CPU for each shard, and two have CPU {}", pair[0]);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut program = program(shards);
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    // SAFETY: `filter` and the program it points to live until the call returns, which copies both; the length is that of
    // the program.
    let done = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cores;
    use crate::listener::{accept, address_of, bind_all};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    /// On loopback the CPU that connects is the CPU that receives.
    #[test]
    fn a_connection_goes_to_the_shard_of_its_cpu() {
        let cpus = cores::allowed().unwrap();
        // In an order of their own, so that the number of a shard is not that of its CPU.
        let shards: Vec<ShardSpec> =
            cpus.iter().rev().enumerate().map(|(index, cpu)| ShardSpec { index, cpu: *cpu }).collect();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = bind_all(&[any], &shards, Steering::Cpu).unwrap();
        let address = address_of(&listeners[0][0]).unwrap();
        for shard in &shards {
            let connections: Vec<TcpStream> = std::thread::spawn({
                let cpu = shard.cpu;
                move || {
                    let mut set = rustix::thread::CpuSet::new();
                    set.set(cpu);
                    rustix::thread::sched_setaffinity(None, &set).unwrap();
                    (0..20).map(|_| TcpStream::connect(address).unwrap()).collect()
                }
            })
            .join()
            .unwrap();
            let mut accepted = 0;
            while accept(&listeners[shard.index][0]).unwrap().is_some() {
                accepted += 1;
            }
            assert_eq!(accepted, connections.len(), "shard {} on CPU {}", shard.index, shard.cpu);
        }
    }

    #[test]
    fn shards_that_share_a_cpu_are_refused() {
        let cpu = cores::allowed().unwrap()[0];
        let shards = [0, 1].map(|index| ShardSpec { index, cpu });
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let error = bind_all(&[any], &shards, Steering::Cpu).unwrap_err();
        assert!(error.to_string().contains(&format!("two have CPU {cpu}")), "{error}");
    }

    #[test]
    fn a_cpu_without_a_shard_is_left_to_the_hash() {
        let program = program(&[ShardSpec { index: 0, cpu: 5 }]);
        assert_eq!(program.len(), 4);
        assert_eq!((program[1].k, program[1].jf), (5, 1));
        assert_eq!(program[3].k, NO_SHARD);
    }
}
