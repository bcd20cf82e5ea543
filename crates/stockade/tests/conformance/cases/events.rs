//! Line 8: what happens during a call is told as it happens. A slow listener loses events, counted, and no result.

use stockade::{CodeBlock, Event, Stream};

use crate::{
    harness::{Options, Place, start, start_with},
    support::{Running, output, python, run, sh, wait_for_file},
};

every_place!(
    events_are_complete_and_in_order,
    output_is_told_while_the_block_runs,
    a_block_that_gets_no_process_does_not_start,
    a_character_is_not_divided,
    a_slow_listener_loses_events_and_no_result,
    a_block_can_be_made_to_wait_for_its_listener,
    the_result_is_the_same_whether_somebody_listens,
);

async fn events_are_complete_and_in_order(place: &dyn Place) {
    let session = start(place).await;
    let loud = "import os\nfor number in range(300): os.write(1 + number % 2, b'%d\\n' % number)";
    let events = Running::new(session.call(vec![python(loud), sh("echo last")])).rest().await;
    let Some((Event::Finished(result), before)) = events.split_last() else { panic!("{events:?}") };
    let mut before = before.iter();
    for block in &result.blocks {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let Some(Event::BlockStarted { index, language, code_file }) = before.next() else { panic!() };
        assert_eq!((*index, language), (block.index, &block.language));
        assert_eq!(Some(code_file), block.code_file.as_ref());
        let finished = loop {
            match before.next() {
                Some(Event::Output { index, stream, data }) => {
                    assert_eq!(*index, block.index);
                    let text = if *stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                    text.extend_from_slice(data.as_bytes());
                }
                Some(Event::BlockFinished(finished)) => break finished,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(finished, block);
        assert_eq!((&stdout[..], &stderr[..]), (block.stdout.as_bytes(), block.stderr.as_bytes()));
    }
    assert_eq!((before.next(), result.blocks.len()), (None, 2));
}

async fn output_is_told_while_the_block_runs(place: &dyn Place) {
    let session = start(place).await;
    let code = format!("echo one\n{}echo two\n{}", wait_for_file("go"), wait_for_file("on"));
    let mut running = Running::until(session.call(vec![sh(code)]), "one\n").await;
    session.put_file("go", "").await.expect("it is saved");
    running.printed("two\n").await;
    session.put_file("on", "").await.expect("it is saved");
    assert_eq!(running.result().await.exit_code, 0);
}

async fn a_block_that_gets_no_process_does_not_start(place: &dyn Place) {
    let session = start(place).await;
    let events = Running::new(session.call(vec![CodeBlock::new("no such language", "")])).rest().await;
    assert!(matches!(&events[..], [Event::BlockFinished(_), Event::Finished(_)]), "{events:?}");
}

async fn a_character_is_not_divided(place: &dyn Place) {
    let session = start(place).await;
    // Each byte is read by itself, for the next is written when the pipe is empty.
    let code = "import fcntl, os, struct, termios, time\n\
        for byte in '\u{e9}\u{20ac}\u{1f980}'.encode() + b'\\xff\\xe2':\n    \
            os.write(1, bytes([byte]))\n    \
            while struct.unpack('i', fcntl.ioctl(1, termios.FIONREAD, b'    '))[0]: time.sleep(0.001)\n";
    let events = Running::new(session.call(vec![python(code)])).rest().await;
    let texts: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Output { data, .. } => Some(data.text().into_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["\u{e9}", "\u{20ac}", "\u{1f980}", "\u{fffd}", "\u{fffd}"]);
}

/// Prints 16 MiB and leaves a file.
const FLOOD: &str = "import os\nleft = 16 << 20\nwhile left: left -= os.write(1, b'x' * min(left, 1 << 20))\n\
    open('finished', 'w').close()";

async fn a_slow_listener_loses_events_and_no_result(place: &dyn Place) {
    let session = start_with(place, Options { output_limit: Some(16 << 20), ..Options::default() }).await;
    let mut running = Running::new(session.call(vec![python(FLOOD)]));
    running.started().await;
    // Nobody takes an event until the block has printed everything: it does not wait for the listener.
    output(&session, sh(wait_for_file("finished"))).await;
    let (mut told, mut lost, mut result) = (0, 0, None);
    for event in running.rest().await {
        match event {
            Event::Output { data, .. } => told += data.as_bytes().len() as u64,
            Event::OutputLost { bytes, .. } => lost += bytes,
            Event::Finished(finished) => result = Some(finished),
            _ => {}
        }
    }
    assert_eq!(told + lost, 16 << 20);
    assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
    let block = &result.expect("the last event").blocks[0];
    assert_eq!((block.stdout.as_bytes().len(), block.dropped_bytes, block.exit_code), (16 << 20, 0, 0));
}

async fn a_block_can_be_made_to_wait_for_its_listener(place: &dyn Place) {
    let session = start(place).await;
    let mut running = Running::new(session.call(vec![python(FLOOD)]).backpressure(true));
    running.started().await;
    // Others don't wait for that listener, and while he does nothing the block does not finish.
    for _ in 0..10 {
        assert_eq!(output(&session, sh("ls finished 2>/dev/null || echo waits")).await, "waits\n");
    }
    let mut told = 0;
    for event in running.rest().await {
        match event {
            Event::Output { data, .. } => told += data.as_bytes().len(),
            Event::OutputLost { bytes, .. } => panic!("{bytes} lost"),
            Event::BlockFinished(block) => assert_eq!(block.dropped_bytes, 15 << 20),
            _ => {}
        }
    }
    assert_eq!(told, 16 << 20);
}

async fn the_result_is_the_same_whether_somebody_listens(place: &dyn Place) {
    let session = start_with(place, Options { output_limit: Some(1000), ..Options::default() }).await;
    let block = python("import os\nfor _ in range(100): os.write(1, b'x' * 100)");
    let listened = Running::new(session.call(vec![block.clone()])).result().await;
    let silent = run(&session, &[block]).await;
    assert_eq!((listened.output, listened.exit_code), (silent.output, silent.exit_code));
    assert_eq!(listened.blocks[0].dropped_bytes, silent.blocks[0].dropped_bytes);
}
