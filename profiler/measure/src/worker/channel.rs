//! JSON lines over a Unix socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are read at once: a traced request's ops take a few megabytes.
const CHUNK: usize = 1 << 16;

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    buffer: Vec<u8>,
    searched: usize,
}

/// What waiting brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// A message.
    Message(T),
    /// Nothing within the time.
    Silence,
    /// The other end is gone.
    Closed,
}

impl Channel {
    /// Talks over this socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), searched: 0 }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// Waits for one message as long as it takes; `None` where the other end is gone.
    ///
    /// # Errors
    /// When the socket fails or the line is no such message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            match self.listen(-1)? {
                Heard::Message(message) => return Ok(Some(message)),
                Heard::Closed => return Ok(None),
                Heard::Silence => {}
            }
        }
    }

    /// Waits for one message up to so many milliseconds (negative: for ever). A signal may end the wait early.
    ///
    /// # Errors
    /// When the socket fails or the line is no such message.
    pub fn listen<T: DeserializeOwned>(&mut self, milliseconds: i32) -> io::Result<Heard<T>> {
        loop {
            if let Some(end) = self.buffer.iter().skip(self.searched).position(|&byte| byte == b'\n') {
                let end = self.searched + end;
                let message = serde_json::from_slice(self.buffer.get(..end).unwrap_or_default())?;
                self.buffer.drain(..=end);
                self.searched = 0;
                return Ok(Heard::Message(message));
            }
            self.searched = self.buffer.len();
            if !readable(&self.stream, milliseconds)? {
                return Ok(Heard::Silence);
            }
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let room = self.buffer.get_mut(before..).unwrap_or_default();
            let length = match self.stream.read(room) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.buffer.truncate(before);
                    continue;
                }
                // A killed peer resets the connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            self.buffer.truncate(before + length);
            if length == 0 {
                return Ok(Heard::Closed);
            }
        }
    }
}

/// Waits until something can be read or the other end is gone.
#[allow(unsafe_code, reason = "poll has no safe wrapper in std")]
pub(super) fn readable(stream: &impl AsRawFd, milliseconds: i32) -> io::Result<bool> {
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
    fn silence_is_told_and_nonsense_is_an_error() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(here);
        assert_eq!(channel.listen::<String>(1).unwrap(), Heard::Silence);
        there.write_all(b"{nonsense\n").unwrap();
        assert!(channel.listen::<String>(1000).is_err());
    }
}
