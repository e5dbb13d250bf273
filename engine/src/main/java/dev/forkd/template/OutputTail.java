package dev.forkd.template;

import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ProcessListener;
import dev.forkd.process.TailBuffer;

/** The end of what a program in a guest has written, for the message when it fails. */
final class OutputTail implements ExecListener, ProcessListener {
  static final int MAX_BYTES = 8192;
  private static final int MAX_CHARS = 2000;

  private final TailBuffer tail = new TailBuffer(MAX_BYTES);

  @Override
  public void started(int pid) {}

  @Override
  public void stdout(byte[] chunk) {
    tail.append(chunk, chunk.length);
  }

  @Override
  public void stderr(byte[] chunk) {
    stdout(chunk);
  }

  @Override
  public void terminal(byte[] chunk) {
    stdout(chunk);
  }

  /** At most {@value #MAX_CHARS} characters. */
  String text() {
    String text = tail.text();
    return text.substring(Math.max(0, text.length() - MAX_CHARS)).strip();
  }
}
