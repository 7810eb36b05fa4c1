//! The terminal of a channel: one that echoes nothing, and where no byte of a line but its end means anything.

use russh::client::Msg;
use russh::{Channel, ChannelMsg, Error, Pty};

/// RFC 4254, 8: a special character with this number is none.
const NONE: u32 = 255;

const MODES: &[(Pty, u32)] = &[
    (Pty::ECHO, 0),
    (Pty::ISIG, 0),
    (Pty::IEXTEN, 0),
    (Pty::IXON, 0),
    (Pty::VERASE, NONE),
    (Pty::VKILL, NONE),
    (Pty::VEOF, NONE),
];

/// Asks for a terminal on a new channel. `None`: the server gives none, and the channel is closed.
pub async fn ask(mut channel: Channel<Msg>) -> Result<Option<Channel<Msg>>, Error> {
    channel.request_pty(true, "dumb", 80, 24, 0, 0, MODES).await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(Some(channel)),
            Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                let _ = channel.close().await;
                return Ok(None);
            }
            Some(_) => {}
            None => return Err(Error::Disconnect),
        }
    }
}
