use super::*;

#[test]
fn a_rate_is_read_by_the_second_or_minute_and_prints_as_it_is_read() {
    for (text, rate, shown) in [
        ("90", Rate::PerSecond(90.0), "90/s"),
        ("90/s", Rate::PerSecond(90.0), "90/s"),
        ("600/m", Rate::PerSecond(10.0), "10/s"),
        ("30/m", Rate::PerSecond(0.5), "30/m"),
        ("0.5/s", Rate::PerSecond(0.5), "30/m"),
        ("unlimited", Rate::Unlimited, "unlimited"),
    ] {
        assert_eq!(text.parse(), Ok(rate), "{text}");
        assert_eq!(rate.to_string(), shown);
        assert_eq!(shown.parse(), Ok(rate), "{shown}");
    }
    for text in ["", "0", "-1", "nan", "inf", "90/h", "90/", "/s", "Unlimited"] {
        assert_eq!(text.parse::<Rate>(), Err(OptionError::Rate), "{text}");
    }
}

#[test]
fn a_percentage_of_failures_speaks_only_from_a_thousand_settled_rows_on() {
    let five: MaxFailures = "5%".parse().unwrap();
    assert!(!five.reached(999, 999));
    assert!(!five.reached(49, 1_000));
    assert!(five.reached(50, 1_000));
    let three: MaxFailures = "3".parse().unwrap();
    assert!(!three.reached(2, 2));
    assert!(three.reached(3, 3));
    for text in ["0", "0%", "101%", "-1", "%", "x", "nan%"] {
        assert!(text.parse::<MaxFailures>().is_err(), "{text}");
    }
}

#[test]
fn a_batch_holds_what_the_server_takes() {
    assert_eq!("off".parse(), Ok(Batch::Off));
    assert_eq!("auto".parse(), Ok(Batch::Auto));
    assert_eq!("200".parse(), Ok(Batch::Size(200)));
    for text in ["0", "201", "on", ""] {
        assert_eq!(text.parse::<Batch>(), Err(OptionError::Batch), "{text}");
    }
}

#[test]
fn a_bare_number_is_seconds() {
    for (text, seconds) in [("40", 40), ("40s", 40), ("15m", 900), ("1h30m", 5_400)] {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "x", "-1", "1.5", "18446744073709551615", "101years"] {
        assert_eq!(duration(text), Err(OptionError::Duration), "{text}");
    }
}

#[test]
fn a_model_association_without_a_mapping_counts_as_one_to_one() {
    let model = model("a_run_b=a,b").unwrap();
    assert_eq!(model.mapping, Mapping::OneToOne);
    assert_eq!((&*model.source, &*model.target), ("a", "b"));
    assert_eq!(super::model("x=a, b ,1:n").unwrap().mapping, Mapping::OneToMany);
    for text in ["", "x", "x=a", "=a,b", "x=a,b,2:2", "x=a,b,1:1,c", "x=,b"] {
        assert_eq!(super::model(text), Err(OptionError::Model), "{text}");
    }
}

#[test]
fn a_url_prints_without_its_user_and_password() {
    for (text, shown) in [
        ("http://u:p@h:1/x", "http://***@h:1/x"),
        ("http://h:1/x", "http://h:1/x"),
        ("http://u:p@x@h", "http://***@h"),
        ("http://u:p/x?y#z@h:1", "http://***@h:1"),
        ("u:p://x@h", "***@h"),
        ("u:p@h:3128", "***@h:3128"),
    ] {
        assert_eq!(without_userinfo(text), shown);
    }
    let proxy = Proxy::Through {
        url: Secret::new("http://u:canary@h"),
        origin: "http_proxy".to_owned(),
        but_for: None,
    };
    assert!(!format!("{proxy} {proxy:?}").contains("canary"));
}

#[test]
fn a_business_is_sent_by_itself_on_esb_only() {
    let at = |send: SendBizId| {
        [Entrance::Esb, Entrance::Gateway, Entrance::Native].map(|entrance| send.at(entrance))
    };
    assert_eq!(at(SendBizId::Auto), [true, false, false]);
    assert_eq!(at(SendBizId::Always), [true; 3]);
    assert_eq!(at(SendBizId::Never), [false; 3]);
}

#[test]
fn a_key_is_a_model_and_its_properties() {
    let of = |model: &str, properties: &[&str]| {
        Ok((model.to_owned(), properties.iter().map(|&one| one.to_owned()).collect()))
    };
    for (text, parsed) in [
        ("bk_switch=bk_asset_id", of("bk_switch", &["bk_asset_id"])),
        (" host = 内网IP + 云区域 ", of("host", &["内网IP", "云区域"])),
        ("m=inner ip", of("m", &["inner ip"])),
        ("m=a=b", of("m", &["a=b"])),
        ("bk_asset_id", Err(OptionError::Key)),
        ("=a", Err(OptionError::Key)),
        ("m=", Err(OptionError::Key)),
        ("m=a+", Err(OptionError::Key)),
        ("m=a+a", Err(OptionError::Key)),
    ] {
        assert_eq!(key(text), parsed, "{text}");
    }
    let naming = Naming { keys: vec![key("m=a").unwrap(), key("m=b").unwrap()], cloud_id: None };
    assert_eq!(naming.key_of("m").unwrap(), ["b"]);
    assert_eq!(naming.key_of("n"), None);
}
