use tokio::sync::{mpsc::unbounded_channel, oneshot};

use super::*;
use crate::{Config, signal::Signal};

fn later() -> (Reply, oneshot::Receiver<Result<(), FlushError>>) {
    let (answer, answered) = oneshot::channel();
    let reply = Box::new(move |result| answer.send(result).is_ok());
    (reply, answered)
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_comes_behind_the_last_shutdown_is_answered() {
    let (commands, received) = unbounded_channel();
    let buffers = Arc::new(Buffers::new(Memory::new(&Config::default())));
    let mut desk = Desk::new(
        buffers,
        received,
        Report::new("http://c:4317", Signal::Spans),
    );
    let (stop, stopped) = later();
    let (flush, flushed) = later();
    let deadline = None;
    let stop = Command::Stop {
        deadline,
        reply: stop,
    };
    commands.send(stop).ok().unwrap();
    let flush = Command::Flush {
        deadline,
        reply: flush,
    };
    commands.send(flush).ok().unwrap();
    desk.attend().await;
    assert!(desk.is_stopping());
    desk.finish().await;
    drop(desk);
    assert_eq!(stopped.await, Ok(Ok(())));
    assert_eq!(flushed.await, Ok(Ok(())));
    assert!(commands.is_closed());
}
