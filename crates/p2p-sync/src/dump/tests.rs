//! Every format: what it writes it reads back byte for byte, what other programs print is read as they mean it (the texts here were
//! printed by them), and what is wrong is told with its line.

use std::borrow::Cow;
use std::io::BufReader;

use proptest::prelude::*;

use super::*;
use crate::report::Dumped;

/// What a file holds: records as line, key and value, and what is wrong as line and reason.
type Holds = (Vec<(u64, String, Option<Vec<u8>>)>, Vec<(u64, String)>);

fn held(format: Format, text: &[u8]) -> Holds {
    held_as(format, text, &Renaming::default())
}

fn held_as(format: Format, text: &[u8], renaming: &Renaming) -> Holds {
    let (mut records, mut bad) = (Vec::new(), Vec::new());
    // Where the pieces of the input end must not matter.
    let mut input = BufReader::with_capacity(5, text);
    let mut each = |item: Result<Item, Bad>| {
        match item {
            Ok(item) => records.push((
                item.line,
                item.key.as_str().to_owned(),
                item.value.map(|value| value.as_bytes().to_vec()),
            )),
            Err(wrong) => bad.push((wrong.line, wrong.why)),
        }
        ControlFlow::Continue(())
    };
    read(format, &mut input, renaming, &mut each).unwrap();
    (records, bad)
}

fn pairs(holds: &Holds) -> Vec<(&str, &[u8])> {
    assert_eq!(holds.1, []);
    let pairs = holds.0.iter();
    pairs
        .map(|(_, key, value)| (key.as_str(), value.as_deref().unwrap()))
        .collect()
}

fn written(format: Format, records: &[(String, Vec<u8>)]) -> Result<Vec<u8>, NotExported> {
    let mut writer = Writer::new(format, Vec::new()).unwrap();
    for (key, value) in records {
        writer.record(&Dumped::new(key, Some(value)))?;
    }
    Ok(writer.end().unwrap())
}

fn some_records() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let key = prop_oneof!["[A-Za-z_][A-Za-z0-9_]{0,8}", "[^\\p{Cc}]{1,40}"];
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes),
        "[ -~\r\n\t\"'$\\\\`{}]{0,20}".prop_map(String::into_bytes),
    ];
    let records = proptest::collection::btree_map(key.prop_filter("short", |key| key.len() <= 256), value, 0..8);
    records.prop_map(|records| records.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_is_written_is_read_back_byte_for_byte(records in some_records()) {
        for format in [Format::Ndjson, Format::Json, Format::Csv] {
            let text = written(format, &records).unwrap();
            let holds = held(format, &text);
            prop_assert_eq!(&holds.1, &[], "{:?}: {}", format, String::from_utf8_lossy(&text));
            let read: Vec<_> = holds.0.into_iter().map(|(_, key, value)| (key, value.unwrap())).collect();
            prop_assert_eq!(&read, &records, "{:?}", format);
        }
        // A variable is written as it can be read, or not at all.
        for (key, value) in &records {
            let one = [(key.clone(), value.clone())];
            if let Ok(text) = written(Format::Env, &one) {
                let holds = held(Format::Env, &text);
                prop_assert_eq!(pairs(&holds), [(key.as_str(), value.as_slice())]);
            }
        }
    }

    #[test]
    fn no_file_makes_a_reader_panic(text in proptest::collection::vec(any::<u8>(), 0..200), tokens in "[\"\\\\{}\\[\\],:*$%\r\n0-9a-f()#=>N'A ]{0,60}") {
        for (_, format) in Format::ALL {
            held(format, &text);
            held(format, tokens.as_bytes());
        }
    }
}

#[test]
fn deletions_and_times_are_kept_in_lines_of_json() {
    let text = concat!(
        r#"{"key":"a","value":"1","timestamp":"2025-01-04T08:30:15Z","author":"x"}"#,
        "\r\n\n",
        r#"{"key":"b","deleted":true,"timestamp":"2025-01-04T08:30:16Z"}"#,
        "\n{\"items\":2}\n"
    );
    let mut items = Vec::new();
    let mut each = |item: Result<Item, Bad>| {
        items.push(item.unwrap());
        ControlFlow::Continue(())
    };
    read(Format::Ndjson, &mut text.as_bytes(), &Renaming::default(), &mut each).unwrap();
    let times: Vec<String> = items.iter().map(|item| item.timestamp.unwrap().to_string()).collect();
    assert_eq!(times, ["2025-01-04T08:30:15Z", "2025-01-04T08:30:16Z"]);
    assert_eq!((items[1].line, &items[1].value), (3, &None));
    let record = Dumped {
        timestamp: Some(Cow::Borrowed("2025-01-04T08:30:16Z")),
        ..Dumped::new("b", None)
    };
    let mut writer = Writer::new(Format::Ndjson, Vec::new()).unwrap();
    writer.record(&record).unwrap();
    let line = r#"{"key":"b","deleted":true,"timestamp":"2025-01-04T08:30:16Z"}"#;
    assert_eq!(String::from_utf8(writer.end().unwrap()).unwrap(), format!("{line}\n"));
    for format in [Format::Json, Format::Csv, Format::Env] {
        let mut writer = Writer::new(format, Vec::new()).unwrap();
        assert!(writer.record(&record).is_err(), "{format:?} cannot tell a deletion");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_rest_is_read() {
    let large = "x".repeat(65_537);
    let text = format!(
        "\u{feff}{}\n{}\nnonsense\n{}\n{}\n{}\n{}\n{}\n{}\n{{\"items\":9}}\n",
        r#"{"key":"a","value":"1"}"#,
        r#"{"key":"a","value":"2"}"#,
        r#"{"key":"b"}"#,
        r#"{"key":"c","value":"1","value_b64":"MQ=="}"#,
        r#"{"key":"d","value_b64":"!"}"#,
        format_args!(r#"{{"key":"e","value":"{large}"}}"#),
        r#"{"key":"f\u0000","value":""}"#,
        r#"{"key":"g","value":"","timestamp":"yesterday"}"#,
    );
    let text = text
        + "{\"key\":\"z\",\"value\":\"\"}\n{\"error\":\"the disk is full\",\"code\":9}\n{\"key\":\"last\",\"value\":\"\"}";
    let (records, bad) = held(Format::Ndjson, text.as_bytes());
    let keys: Vec<&str> = records.iter().map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "z", "last"]);
    let lines: Vec<u64> = bad.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10, 12]);
    let why = |at: usize| bad[at].1.as_str();
    assert!(why(0).contains("a is there twice: line 1"), "{}", why(0));
    assert!(why(5).contains("too large"), "{}", why(5));
    assert!(why(8).contains("the file had 9 records"), "{}", why(8));
    assert!(why(9).contains("the disk is full"), "{}", why(9));
    let (_, bad) = held(Format::Ndjson, b"{\"key\":\"a\xff\",\"value\":\"\"}\n");
    assert_eq!(bad, [(1, "it is not UTF-8".to_owned())]);
    let long = format!("{}\n{{\"key\":\"k\",\"value\":\"\"}}", "y".repeat(3 << 20));
    let (records, bad) = held(Format::Ndjson, long.as_bytes());
    assert_eq!((records.len(), bad.len()), (1, 1), "a line without end takes no memory");
}

#[test]
fn an_object_of_json_holds_keys_and_values() {
    let text = b"{\"a\": \"1\",\n \"b\": {\"value_b64\": \"/w==\"},\n \"c\": 5, \"d\": {\"x\":[1,{}]},\n\"e\":null,\"a\":\"2\",\"f\":[1]}";
    let (records, bad) = held(Format::Json, text);
    assert_eq!(
        records,
        [
            (1, "a".to_owned(), Some(b"1".to_vec())),
            (2, "b".to_owned(), Some(vec![0xff]))
        ]
    );
    let told: Vec<(u64, &str)> = bad.iter().map(|(line, why)| (*line, why.as_str())).collect();
    assert_eq!(
        told,
        [
            (3, "the value of c is a number, and no string"),
            (3, "the value of d is an object, and no string"),
            (4, "the value of e is null, and no string"),
            (4, "a is there twice: line 1 has it, too"),
            (4, "the value of f is a list, and no string"),
        ]
    );
    let (records, bad) = held(Format::Json, b"{\"a\":\"1\",\n\"b\":\"2\"");
    assert_eq!((records.len(), bad.len(), bad[0].0), (2, 1, 2), "{bad:?}");
    assert_eq!(held(Format::Json, b"[]").1.len(), 1);
    assert_eq!(held(Format::Json, b"{} {}").1.len(), 1);
}

#[test]
fn tables_have_a_header() {
    let text = b"\xef\xbb\xbfvalue,key\r\n\"two\r\nlines, and \"\"quotes\"\"\",k\r\n,empty\r\na,b,c\r\nlast,l";
    let (records, bad) = held(Format::Csv, text);
    assert_eq!(
        records,
        [
            (2, "k".to_owned(), Some(b"two\r\nlines, and \"quotes\"".to_vec())),
            (4, "empty".to_owned(), Some(vec![])),
            (6, "l".to_owned(), Some(b"last".to_vec())),
        ]
    );
    assert_eq!(bad, [(5, "it has 3 fields, and the header 2".to_owned())]);
    let (records, bad) = held(Format::Csv, b"key,value,encoding\na,MQ==,base64\nb,!,base64\nc,x,hex\n");
    assert_eq!(records, [(2, "a".to_owned(), Some(b"1".to_vec()))]);
    assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4]);
    for header in ["key,val\n", "a,b\n", ""] {
        assert_eq!(held(Format::Csv, header.as_bytes()).1.len(), 1, "{header}");
    }
}

#[test]
fn of_variables_only_that_is_taken_about_which_readers_agree() {
    let text = b"# remark\n\nA=1\r\nexport B=\"x y\"\nC='two\nlines # $HOME'\nD=\nE=$A\nF=a b\nG='x' # y\n1H=1\nno\nI=\"a\\n\"\nJ=`x`\nK='${A}'\nL=\"l\"\nM='open\n";
    let (records, bad) = held(Format::Env, text);
    let read: Vec<(u64, &str, &[u8])> = records
        .iter()
        .map(|(line, key, value)| (*line, key.as_str(), value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        read,
        [
            (3, "A", b"1".as_slice()),
            (4, "B", b"x y"),
            (5, "C", b"two\nlines # $HOME"),
            (7, "D", b""),
            (16, "L", b"l"),
        ]
    );
    let lines: Vec<u64> = bad.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [8, 9, 10, 11, 12, 13, 14, 15, 17]);
}

/// A shell reads every variable that is written as it was.
#[test]
#[cfg(unix)]
fn shells_read_the_variables_that_are_written() {
    let characters = [
        'a', ' ', '\n', '\'', '"', '$', '{', '\\', '`', '#', ';', '&', '!', '~', '*', 'é', '=', '\t', '%', '(', '\r',
        '\0',
    ];
    let mut text = String::new();
    let mut expected = Vec::new();
    for first in characters {
        for second in characters {
            let value = format!("{first}{second}x");
            let name = format!("V{}", expected.len());
            if let Ok(line) = written(Format::Env, &[(name.clone(), value.clone().into_bytes())]) {
                text.push_str(&String::from_utf8(line).unwrap());
                expected.push((name, value));
            }
        }
    }
    assert!(expected.len() > 200, "{}", expected.len());
    for (name, _) in &expected {
        text.push_str(&format!("printf '%s\\000' \"${name}\"\n"));
    }
    let said = std::process::Command::new("sh").arg("-c").arg(&text).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let said: Vec<&str> = said.split_terminator('\0').collect();
    assert_eq!(
        said,
        expected.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    );
}

#[test]
fn what_redis_cli_prints_is_read_as_it_means_it() {
    // redis-cli 7.0.15: a script that returns keys and values in turn, and HGETALL, also in the newer protocol (-3).
    let binary: &[u8] = b"a\0b\xff\"\\\n\t\x07\xc3\xa9";
    let expected = [("k with \"q\"", b"v".as_slice()), ("bin", binary), ("empty", b"")];
    let csv = br#""k with \"q\"","v","bin","a\x00b\xff\"\\\n\t\a\xc3\xa9","empty","""#;
    assert_eq!(pairs(&held(Format::Redis, csv)), expected);
    let list = br#"1) "k with \"q\""
2) "v"
3) "bin"
4) "a\x00b\xff\"\\\n\t\a\xc3\xa9"
5) "empty"
6) ""
"#;
    assert_eq!(pairs(&held(Format::Redis, list)), expected);
    let map = b"1# \"f1\" => \"v1\"\n2# \"f2\" => \"\"\n";
    assert_eq!(
        pairs(&held(Format::Redis, map)),
        [("f1", b"v1".as_slice()), ("f2", b"")]
    );
    assert_eq!(
        pairs(&held(Format::Redis, b"1) \"n\"\n2) (integer) 11\n")),
        [("n", b"11".as_slice())]
    );
    assert_eq!(pairs(&held(Format::Redis, b"\"n\",11\n")), [("n", b"11".as_slice())]);
    assert_eq!(pairs(&held(Format::Redis, b"(empty array)\n")), []);
    let (records, bad) = held(Format::Redis, b"1) \"gone\"\n2) (nil)\n3) \"k\"\n4) \"v\"\n");
    assert_eq!(
        (records.len(), bad),
        (1, vec![(1, "gone has no value (nil)".to_owned())])
    );
    assert_eq!(held(Format::Redis, b"\"gone\",NULL,\"k\",\"v\"\n").0.len(), 1);
    for (text, line) in [
        ("(error) ERR unknown command 'nosuch', with args beginning with: \n", 1),
        (
            "ERROR,\"ERR unknown command 'nosuch', with args beginning with: \"\n",
            1,
        ),
        ("plain\nhello\n", 1),
        ("1) \"0\"\n2) 1) \"k\"\n", 2),
        ("\"k\",\"v\",\n\"odd\"\n", 2),
        ("\"k\",\"v", 1),
        ("\"k\\q\"", 1),
    ] {
        let (_, bad) = held(Format::Redis, text.as_bytes());
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [line], "{text}");
    }
}

#[test]
fn the_protocol_of_redis_sets_strings() {
    let commands = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nset\r\n$1\r\nk\r\n$4\r\n\r\n\xff\0\r\n*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n";
    let expected = [("k", b"\r\n\xff\0".as_slice()), ("a", b"1"), ("b", b"")];
    assert_eq!(pairs(&held(Format::Resp, commands)), expected);
    let reply = b"*4\r\n$3\r\nset\r\n$1\r\nv\r\n$1\r\nn\r\n:5\r\n";
    assert_eq!(
        pairs(&held(Format::Resp, reply)),
        [("set", b"v".as_slice()), ("n", b"5")]
    );
    let map = b"%1\r\n$1\r\na\r\n$1\r\n1\r\n";
    assert_eq!(pairs(&held(Format::Resp, map)), [("a", b"1".as_slice())]);
    let (records, bad) = held(
        Format::Resp,
        b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nPX\r\n$1\r\n9\r\n*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\nx\r\n*3\r\n$3\r\nSET\r\n$1\r\no\r\n$1\r\nk\r\n",
    );
    assert_eq!((records.len(), bad.len()), (1, 2), "{bad:?}");
    assert!(bad[0].1.contains("expiry") && bad[1].1.contains("RPUSH"), "{bad:?}");
    for text in [
        "+OK\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\nshort",
        "*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n",
        "*1\r\n",
    ] {
        assert_eq!(held(Format::Resp, text.as_bytes()).1.len(), 1, "{text}");
    }
}

#[test]
fn what_etcdctl_prints_is_read_as_it_means_it() {
    // etcdctl 3.4.23 get -w json --prefix "": an empty value has no field.
    let all = br#"{"header":{"cluster_id":15118495548433857066,"member_id":13668033151171901709,"revision":5,"raft_term":2},"kvs":[{"key":"ZW1wdHk=","create_revision":3,"mod_revision":3,"version":1},{"key":"Ymlu","create_revision":4,"mod_revision":4,"version":1,"value":"YQBi/yIK"},{"key":"bGVhc2Vk","create_revision":5,"mod_revision":5,"version":1,"value":"eA==","lease":4111120311396638984},{"key":"cGxhaW4=","create_revision":2,"mod_revision":2,"version":1,"value":"aGVsbG8="}],"count":4}
"#;
    let (records, bad) = held(Format::Etcd, all);
    let read: Vec<(&str, &[u8])> = records
        .iter()
        .map(|(_, key, value)| (key.as_str(), value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        read,
        [("empty", b"".as_slice()), ("bin", b"a\0b\xff\"\n"), ("plain", b"hello")]
    );
    assert_eq!(bad.len(), 1);
    assert!(bad[0].1.starts_with("leased has a lease"), "{bad:?}");
    let cut_off = br#"{"header":{"revision":5},"kvs":[{"key":"Ymlu","version":1,"value":"YQ=="},{"key":"ZW1wdHk=","version":1}],"more":true,"count":4}"#;
    let (records, bad) = held(Format::Etcd, cut_off);
    assert_eq!((records.len(), bad.len()), (2, 1));
    assert!(bad[0].1.contains("incomplete"), "{bad:?}");
    let keys_only =
        br#"{"header":{"revision":5},"kvs":[{"key":"Ymlu","version":1},{"key":"ZW1wdHk=","version":1}],"count":2}"#;
    let (records, bad) = held(Format::Etcd, keys_only);
    assert_eq!((records.len(), bad.len()), (0, 1));
    assert!(bad[0].1.contains("--keys-only"), "{bad:?}");
    assert_eq!(
        held(Format::Etcd, br#"{"header":{"revision":5}}"#),
        (vec![], vec![]),
        "no such key"
    );
    assert_eq!(held(Format::Etcd, br#"{"a":"b"}"#).1.len(), 1);
}

#[test]
fn what_consul_exports_is_read_as_it_means_it() {
    let text = b"[\n\t{\n\t\t\"key\": \"app/name\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"YWJj\"\n\t},\n\t{\n\t\t\"key\": \"app/\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"\"\n\t},\n\t{\n\t\t\"key\": \"lock\",\n\t\t\"flags\": 3304740253564472344,\n\t\t\"value\": \"\"\n\t}\n]\n";
    let renaming = Renaming {
        strip: None,
        prefix: Some("consul/".to_owned()),
    };
    let (records, bad) = held_as(Format::Consul, text, &renaming);
    assert_eq!(
        records,
        [
            (6, "consul/app/name".to_owned(), Some(b"abc".to_vec())),
            (11, "consul/app/".to_owned(), Some(vec![])),
        ]
    );
    assert_eq!(bad.len(), 1);
    let renaming = Renaming {
        strip: Some("app/".to_owned()),
        prefix: None,
    };
    let (records, bad) = held_as(Format::Consul, text, &renaming);
    assert_eq!(records.len(), 1);
    let told: Vec<&str> = bad.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(told[0], "invalid key: the key is empty");
    assert_eq!(held(Format::Consul, b"{}").1.len(), 1);
}

#[test]
fn a_reader_ends_when_nobody_wants_more() {
    let text = "{\"key\":\"a\",\"value\":\"\"}\n{\"key\":\"b\",\"value\":\"\"}\n";
    let object = "{\"a\":\"\",\"b\":\"\"}";
    let lists = [
        (Format::Ndjson, text),
        (Format::Json, object),
        (Format::Csv, "key,value\na,1\nb,1\n"),
        (Format::Env, "a=1\nb=1\n"),
        (Format::Redis, "\"a\",\"1\",\"b\",\"1\""),
        (Format::Resp, "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n1\r\n"),
        (
            Format::Etcd,
            r#"{"header":{},"kvs":[{"key":"YQ==","value":"MQ=="},{"key":"Yg==","value":"MQ=="}]}"#,
        ),
        (
            Format::Consul,
            r#"[{"key":"a","flags":0,"value":""},{"key":"b","flags":0,"value":""}]"#,
        ),
    ];
    for (format, text) in lists {
        let mut count = 0;
        let mut each = |item: Result<Item, Bad>| {
            item.unwrap();
            count += 1;
            ControlFlow::Break(())
        };
        read(format, &mut text.as_bytes(), &Renaming::default(), &mut each).unwrap();
        assert_eq!(count, 1, "{format:?}");
    }
}
