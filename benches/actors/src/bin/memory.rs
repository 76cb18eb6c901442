//! Memory of 100,000 idle actors: `memory KIND` prints bytes per actor, resident and allocated, and
//! blocks; `memory KIND --sizes` also the blocks by their size.
//!
//! A process of its own for each kind, so that none inherits another's free lists.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bench_actors::{kameo_side, on_one_thread, ours, ractor_side};

const ACTORS: usize = 100_000;

struct Counting;
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: AtomicUsize = AtomicUsize::new(0);

/// Blocks alive by their size, to see where the bytes are.
const SIZES: usize = 4096;
static BY_SIZE: [AtomicUsize; SIZES] = [const { AtomicUsize::new(0) }; SIZES];

fn by_size(size: usize) -> &'static AtomicUsize {
    &BY_SIZE[size.min(SIZES - 1)]
}

// A measuring instrument: there is no safe way to stand before the allocator, and it only counts.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        BLOCKS.fetch_add(1, Ordering::Relaxed);
        by_size(layout.size()).fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        BLOCKS.fetch_sub(1, Ordering::Relaxed);
        by_size(layout.size()).fetch_sub(1, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: usize = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kib * 1024
}

fn main() {
    let kind = std::env::args().nth(1).unwrap_or_default();
    on_one_thread(async {
        // What a side allocates once is not the actors'.
        let warm = spawn(&kind, 100).await;
        let before = (resident_bytes(), ALLOCATED.load(Ordering::Relaxed), BLOCKS.load(Ordering::Relaxed));
        let all = spawn(&kind, ACTORS).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let after = (resident_bytes(), ALLOCATED.load(Ordering::Relaxed), BLOCKS.load(Ordering::Relaxed));
        println!(
            "{} {} {:.1}",
            (after.0 - before.0) / ACTORS,
            (after.1 - before.1) / ACTORS,
            (after.2 - before.2) as f64 / ACTORS as f64
        );
        if std::env::args().nth(2).as_deref() == Some("--sizes") {
            for (size, count) in BY_SIZE.iter().enumerate() {
                let count = count.load(Ordering::Relaxed) as f64 / ACTORS as f64;
                if count > 0.1 {
                    println!("{size:>5} bytes x {count:.2}");
                }
            }
        }
        // Nothing of this is the measure; the ends of 100,000 actors take their time.
        drop((warm, all));
        std::process::exit(0);
    });
}

async fn spawn(kind: &str, count: usize) -> Box<dyn std::any::Any> {
    match kind {
        "ours-bare" => Box::new(ours::spawn_many(true, count).await),
        "ours-full" => Box::new(ours::spawn_many(false, count).await),
        "kameo" => Box::new(kameo_side::spawn_many(false, count).await),
        "kameo-supervised" => Box::new(kameo_side::spawn_many(true, count).await),
        "ractor" => Box::new(ractor_side::spawn_many(false, count).await),
        "ractor-linked" => Box::new(ractor_side::spawn_many(true, count).await),
        other => panic!("{other:?} is no kind of actor"),
    }
}
