//! JSON lines over a Unix socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes per read: the operations of a traced request take a few megabytes.
const CHUNK: usize = 1 << 16;

/// One end of the connection.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    buffer: Vec<u8>,
    searched: usize,
}

/// The result of a wait for a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// A message.
    Message(T),
    /// No message arrived in time.
    Timeout,
    /// The other end has closed the connection.
    Closed,
}

impl Channel {
    /// A channel over this socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), searched: 0 }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the other end has closed the connection.
    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// Waits for one message without a limit; `None` if the other end has closed the connection.
    ///
    /// # Errors
    /// When the socket fails or the line is not a message of this type.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            match self.receive_within(-1)? {
                Received::Message(message) => return Ok(Some(message)),
                Received::Closed => return Ok(None),
                Received::Timeout => {}
            }
        }
    }

    /// Waits for one message, at most so many milliseconds (negative: without a limit). A signal may end the wait early.
    ///
    /// # Errors
    /// When the socket fails or the line is not a message of this type.
    pub fn receive_within<T: DeserializeOwned>(&mut self, milliseconds: i32) -> io::Result<Received<T>> {
        loop {
            if let Some(end) = self.buffer.iter().skip(self.searched).position(|&byte| byte == b'\n') {
                let end = self.searched + end;
                let message = serde_json::from_slice(&self.buffer[..end])?;
                self.buffer.drain(..=end);
                self.searched = 0;
                return Ok(Received::Message(message));
            }
            self.searched = self.buffer.len();
            if !readable(&self.stream, milliseconds)? {
                return Ok(Received::Timeout);
            }
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let (_, target) = self.buffer.split_at_mut(before);
            let length = match self.stream.read(target) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.buffer.truncate(before);
                    continue;
                }
                // The peer was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            self.buffer.truncate(before + length);
            if length == 0 {
                return Ok(Received::Closed);
            }
        }
    }
}

/// Waits until there are bytes to read or the other end has closed the connection; false after the time.
///
/// # Errors
/// When the socket fails.
#[allow(unsafe_code, reason = "poll has no safe wrapper in std")]
pub fn readable(stream: &impl AsRawFd, milliseconds: i32) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry that lives through the call; the descriptor is open as long as `stream` is borrowed.
    let count = unsafe { libc::poll(&raw mut entry, 1, milliseconds) };
    if count >= 0 {
        return Ok(count > 0);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_arrive_whole() {
        let (here, there) = UnixStream::pair().unwrap();
        let long = "x".repeat(3 * CHUNK + 17);
        let sent = long.clone();
        let sender = std::thread::Builder::new()
            .name("sender".into())
            .spawn(move || {
                let mut channel = Channel::new(there);
                channel.send(&"one\ntwo").unwrap();
                channel.send(&sent).unwrap();
            })
            .unwrap();
        let mut channel = Channel::new(here);
        assert_eq!(channel.receive::<String>().unwrap().as_deref(), Some("one\ntwo"));
        assert_eq!(channel.receive::<String>().unwrap(), Some(long));
        assert_eq!(channel.receive::<String>().unwrap(), None);
        sender.join().unwrap();
    }

    #[test]
    fn a_timeout_is_reported_and_invalid_json_is_an_error() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(here);
        assert_eq!(channel.receive_within::<String>(1).unwrap(), Received::Timeout);
        there.write_all(b"{nonsense\n").unwrap();
        assert!(channel.receive_within::<String>(1000).is_err());
    }
}
