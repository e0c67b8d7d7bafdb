//! scratch
use std::io::BufRead;
fn main() {
    tracing_subscriber::fmt().with_env_filter(std::env::var("RUST_LOG").unwrap_or("info".into())).with_writer(std::io::stderr).init();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let a: Vec<String> = std::env::args().collect();
    let t0 = std::time::Instant::now();
    let node = rt.block_on(p2p_sync::Node::start(p2p_sync::Config { data_dir: a[1].clone().into(), port: a[2].parse().unwrap(), name: "x".into(), network: Default::default(), peers: a[3..].to_vec(), lan: true })).unwrap();
    println!("{} {:?} {:?}", node.id(), node.listening(), t0.elapsed());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let w: Vec<&str> = line.split(' ').collect();
        match w[0] {
            "add" => println!("{:?}", rt.block_on(node.put(p2p_sync_core::Key::new(w[1]).unwrap(), p2p_sync_core::Value::new(w[2].as_bytes()).unwrap())).map(|r| r.timestamp.to_string())),
            "get" => println!("{:?}", rt.block_on(node.get(&p2p_sync_core::Key::new(w[1]).unwrap()))),
            "status" => println!("{:#?}", rt.block_on(node.status())),
            _ => println!("?"),
        }
    }
    let t0 = std::time::Instant::now();
    rt.block_on(node.stop());
    println!("stopped in {:?}", t0.elapsed());
}
