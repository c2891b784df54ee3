//! All requests but shares: rare, so they are read as trees and answered with formatted text.

use super::Misbehaviour;
use super::peer::Peer;
use super::world::{After, World};
use crate::wire::{Message, hex_word};

/// More than any proxy may take for one line (64 KiB), less than the peer's send queue.
const ENDLESS_LINE_BYTES: usize = 160 * 1024;
const _: () = assert!(ENDLESS_LINE_BYTES < super::peer::OUT_BYTES_MAX);

impl World {
    pub(super) fn handle_other(&mut self, peer: &mut Peer, method: &str, message: &Message<'_>) -> After {
        let id = message.id_text();
        match method {
            "mining.configure" => self.configure(peer, message),
            "mining.subscribe" => self.subscribe(peer, id),
            "mining.authorize" | "mining.auth" => self.authorize(peer, message),
            "mining.extranonce.subscribe" => return self.subscribe_extranonce(peer, id),
            "mining.suggest_difficulty" | "mining.suggest_target" | "mining.suggest" => {
                self.report.difficulty_suggestions += 1;
                peer.send_result(id, "true");
            }
            "mining.ping" => {
                self.report.pings += 1;
                peer.send_result(id, "\"pong\"");
            }
            _ => {
                self.report.unknown_methods += 1;
                peer.send_error(id, "[-3,\"Method not found\",null]");
            }
        }
        After::Continue
    }

    /// Answers every extension that was asked for.
    fn configure(&mut self, peer: &mut Peer, message: &Message<'_>) {
        self.report.configures += 1;
        if self.config.misbehaviour == Misbehaviour::NoConfigureAnswer {
            return;
        }
        let params = message.param_tree();
        let mut result = serde_json::Map::new();
        let asked = params.get(0).and_then(|list| list.as_array()).map_or(&[][..], Vec::as_slice);
        for extension in asked.iter().filter_map(|name| name.as_str()) {
            match extension {
                "version-rolling" => {
                    let wanted = params
                        .get(1)
                        .and_then(|options| options.get("version-rolling.mask")?.as_str())
                        .map_or(Some(u32::MAX), hex_word);
                    let mask = self.config.version_mask & wanted.unwrap_or(0);
                    peer.version_mask = Some(mask);
                    result.insert(extension.into(), (mask != 0).into());
                    result.insert("version-rolling.mask".into(), format!("{mask:08x}").into());
                }
                "minimum-difficulty" | "subscribe-extranonce" | "info" => {
                    peer.takes_extranonce |= extension == "subscribe-extranonce";
                    result.insert(extension.into(), true.into());
                }
                _ => {
                    result.insert(extension.into(), false.into());
                }
            }
        }
        peer.send_result(message.id_text(), &serde_json::Value::Object(result).to_string());
        if let (true, Some(mask)) = (self.config.announce_version_mask, peer.version_mask) {
            let notice = format!(
                "{{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"{mask:08x}\"]}}\n"
            );
            peer.send(&[notice.as_bytes()]);
        }
    }

    fn subscribe(&mut self, peer: &mut Peer, id: &str) {
        self.report.subscribes += 1;
        if self.config.misbehaviour == Misbehaviour::NoSubscribeAnswer {
            return;
        }
        if self.config.misbehaviour == Misbehaviour::DifficultyBeforeSubscribeAnswer {
            self.send_difficulty(peer);
        }
        let (serial, extranonce1) = (peer.serial, peer.extranonce1);
        let size = peer.extranonce2_size;
        let result = format!(
            "[[[\"mining.set_difficulty\",\"d{serial:08x}\"],[\"mining.notify\",\"n{serial:08x}\"]],\
             \"{extranonce1:08x}\",{size}]"
        );
        peer.send_result(id, &result);
        peer.subscribed = true;
        self.start_work(peer);
    }

    fn authorize(&mut self, peer: &mut Peer, message: &Message<'_>) {
        self.report.authorizes += 1;
        let id = message.id_text();
        let params = message.param_tree();
        let user = params.get(0).and_then(|user| user.as_str()).unwrap_or_default();
        let refused = user.is_empty() || self.config.misbehaviour == Misbehaviour::RejectAuthorize;
        if refused || !peer.authorize(user) {
            peer.send_error(id, "[24,\"Unauthorized worker\",null]");
            return;
        }
        self.remember_user(user);
        if self.config.misbehaviour == Misbehaviour::JobBeforeAuthorizeAnswer {
            self.start_work(peer);
        }
        peer.send_result(id, "true");
        if self.config.misbehaviour == Misbehaviour::GarbageLine {
            peer.send(&[b"<html><body>502 Bad Gateway</body></html>\n"]);
        }
        if self.config.misbehaviour == Misbehaviour::EndlessLine {
            peer.send(&[&vec![b'a'; ENDLESS_LINE_BYTES]]);
            return;
        }
        self.start_work(peer);
    }

    fn subscribe_extranonce(&mut self, peer: &mut Peer, id: &str) -> After {
        self.report.extranonce_subscribes += 1;
        let misbehaviour = self.config.misbehaviour;
        if misbehaviour == Misbehaviour::CloseOnExtranonceSubscribe {
            return After::Close;
        }
        if misbehaviour == Misbehaviour::RejectExtranonceSubscribe {
            peer.send_error(id, "[20,\"Not supported.\",null]");
        } else if misbehaviour != Misbehaviour::SilentExtranonceSubscribe {
            peer.takes_extranonce = true;
            peer.send_result(id, "true");
        }
        After::Continue
    }
}
