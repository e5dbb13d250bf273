package dev.forkd.sdk.hosted;

import java.nio.charset.StandardCharsets;

/** A piece of what a process writes. Arrays are the receiver's to keep. */
public sealed interface Output {
  byte[] bytes();

  /** To its standard output. */
  record Stdout(byte[] bytes) implements Output {}

  /** To its standard error. */
  record Stderr(byte[] bytes) implements Output {}

  /** To its terminal. */
  record Terminal(byte[] bytes) implements Output {}

  /** As UTF-8; a character may be cut in two by the end of a piece. */
  default String text() {
    return new String(bytes(), StandardCharsets.UTF_8);
  }
}
