//! The process that listens on a port, from `/proc/net/tcp`, `/proc/net/tcp6` and the open files of all processes.

use std::collections::BTreeSet;

use record::{Reason, Setting};

use crate::root::Root;

/// The state of a socket that waits for connections (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTENS: &str = "0A";

/// The id of the process that listens on a port of this machine; of several that share the socket, the lowest id.
pub(crate) fn listener(root: &Root, port: u16) -> Result<u32, Reason> {
    // A kernel without IPv6 has no second table.
    let tables = [root.text("/proc/net/tcp"), root.text("/proc/net/tcp6")];
    if let [Err(reason), Err(_)] = &tables {
        return Err(reason!("{reason}: name the server's process with {}", Setting::Pid));
    }
    let wanted: BTreeSet<String> = tables.iter().flatten().flat_map(|table| sockets(table, port)).collect();
    if wanted.is_empty() {
        return Err(reason!(
            "no process of this machine listens on port {port}: name the server's process with {}",
            Setting::Pid
        ));
    }
    let processes = root.names("/proc")?.into_iter().filter_map(|name| name.parse::<u32>().ok());
    let mut holders = processes.filter(|pid| holds(root, *pid, &wanted));
    holders.next().ok_or_else(|| {
        reason!(
            "the process that listens on port {port} belongs to another user or container: name it with {}, or measure as that user",
            Setting::Pid
        )
    })
}

/// Inodes of the sockets that listen on this port. A row: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`,
/// addresses as `HEX:PORT` (Documentation/networking/proc_net_tcp.rst).
fn sockets(table: &str, port: u16) -> Vec<String> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTENS;
        here.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
    };
    table.lines().filter_map(row).collect()
}

fn holds(root: &Root, pid: u32, wanted: &BTreeSet<String>) -> bool {
    let folder = format!("/proc/{pid}/fd");
    let open = root.names(&folder).unwrap_or_default();
    open.iter().any(|name| root.link(&format!("{folder}/{name}")).is_some_and(|target| wanted.contains(&target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_leads_to_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(&Root::system(), port), Ok(std::process::id()));
        drop(socket);
        let reason = listener(&Root::system(), port).unwrap_err();
        assert!(reason.as_str().contains("`pid`") && reason.as_str().contains(&port.to_string()), "{reason}");
    }

    #[test]
    fn only_listeners_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0\n   \
             1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0 20 4 30 10 -1\n";
        assert_eq!(sockets(table, 8080), ["socket:[4242]"]);
        assert!(sockets(table, 8081).is_empty());
    }
}
