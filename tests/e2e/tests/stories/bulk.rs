//! A gigabyte each way arrives whole, whoever cuts it into segments and computes its checksums.

use anyhow::Result;
use e2e::Stage;
use lab::traffic::{download, upload};

/// A quarter of it for each family and each of a near and a far endpoint.
const PART: u64 = (1 << 30) / 4;

#[test]
fn a_gigabyte_each_way_arrives_intact_with_and_without_offloads() -> Result<()> {
    let mut stage = Stage::set("bulk", &[("near", 1, &["pod1"]), ("far", 1, &["pod3"])])?;
    for (server, near, far) in [("pod1", 1, 0), ("pod3", 0, 1)] {
        stage.change(|objects| {
            objects.set_weight("near", near);
            objects.set_weight("far", far);
        })?;
        for offload in [true, false] {
            stage.lab.offload(offload)?;
            for target in stage.tcp() {
                let there = upload(stage.client(), target, PART)?;
                let back = download(stage.client(), target, PART)?;
                for (way, transfer) in [("up", &there), ("down", &back)] {
                    println!("{way} by {target} to {server}, offloads {offload}: {:?}", transfer.took);
                    assert_eq!((transfer.server.as_str(), transfer.bytes), (server, PART));
                }
            }
        }
    }
    Ok(())
}
