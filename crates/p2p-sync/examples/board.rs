//! A board that everybody on the LAN sees: `board DIRECTORY` shows it whenever it changes, and each line of input, `NAME TEXT`, posts
//! something (`NAME` alone takes it down). `board DIRECTORY PEER` keeps off the LAN and talks to that peer only.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;

use p2p_sync::{Event, Key, Node, Since};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

const PREFIX: &str = "board/";

type Board = BTreeMap<Key, String>;

/// Posts a line, or takes it down.
async fn post(node: &Node, line: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (name, text) = line.split_once(' ').unwrap_or((line, ""));
    let key = format!("{PREFIX}{name}");
    if text.is_empty() {
        node.delete(key).await?;
    } else {
        node.put(key, text).await?;
    }
    Ok(())
}

/// Foreign text could hold anything, also what moves the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn show(board: &Board) {
    println!("--- {} on the board", board.len());
    for (key, text) in board {
        let name = key.as_str().trim_start_matches(PREFIX);
        println!("{}: {}", printable(name), printable(text));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: board DIRECTORY [PEER]")?;
    let settings = Node::builder(directory).port(0);
    let settings = match arguments.next() {
        Some(peer) => settings.lan(false).peer(peer),
        None => settings,
    };
    let node = settings.start().await?;
    let mut changes = node.watch(PREFIX, Since::Snapshot);
    let mut lines = BufReader::new(stdin()).lines();
    let (mut board, mut is_complete) = (Board::new(), false);
    loop {
        tokio::select! {
            event = changes.next() => match event {
                Some(Ok(Event::Put(now))) => {
                    let text = now.record.text().unwrap_or("(not text)").to_owned();
                    board.insert(now.record.key, text);
                }
                Some(Ok(Event::Delete(now))) => {
                    board.remove(&now.record.key);
                }
                Some(Ok(Event::Ready { .. })) => is_complete = true,
                // The store was replaced: everything is told anew.
                Some(Ok(Event::Reset)) => (board, is_complete) = (Board::new(), false),
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    eprintln!("cannot read the board: {error}");
                    continue;
                }
                None => break,
            },
            line = lines.next_line() => match line? {
                Some(line) => {
                    if let Err(error) = post(&node, line.trim()).await {
                        eprintln!("not posted: {error}");
                    }
                    continue;
                }
                None => break,
            },
        }
        if is_complete {
            show(&board);
        }
    }
    node.stop().await;
    Ok(())
}
