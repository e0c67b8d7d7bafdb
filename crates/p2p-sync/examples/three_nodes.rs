//! Three nodes in one process, each with a copy of its own: what one writes, the others have a moment later.

#![allow(clippy::print_stdout)]

use p2p_sync::{Event, Node, Since};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let settings = |name| Node::builder(directory.path().join(name)).name(name).port(0).lan(false);
    let desk = settings("desk").start().await?;
    let address = format!("/ip4/127.0.0.1/tcp/{}", desk.port());
    let kitchen = settings("kitchen").peer(&address).start().await?;
    let cellar = settings("cellar").peer(&address).start().await?;
    desk.put("hello", "world").await?;
    for node in [&kitchen, &cellar] {
        let mut changes = node.watch("hello", Since::Snapshot);
        while let Some(event) = changes.next().await {
            if let Event::Put(now) = event? {
                println!("{}: hello = {:?}", node.names().peer(node.id()), now.record.text());
                break;
            }
        }
    }
    for node in [desk, kitchen, cellar] {
        node.stop().await;
    }
    Ok(())
}
