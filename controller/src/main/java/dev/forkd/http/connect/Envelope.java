package dev.forkd.http.connect;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Optional;

/**
 * One message of a stream: a byte of flags, four bytes of length, most significant first, and the
 * message.
 */
record Envelope(int flags, byte[] message) {
  static final int COMPRESSED = 1;
  static final int END_OF_STREAM = 2;
  private static final int PREFIX_BYTES = 5;

  byte[] toBytes() {
    return ByteBuffer.allocate(PREFIX_BYTES + message.length)
        .put((byte) flags)
        .putInt(message.length)
        .put(message)
        .array();
  }

  /**
   * Reads the next one.
   *
   * @param messageBytesMax longer ones are refused before a byte of them is kept
   * @return empty when the input ends before it
   * @throws ConnectException INVALID_ARGUMENT for a piece of one, or for one that is too long
   */
  static Optional<Envelope> read(InputStream in, int messageBytesMax) throws IOException {
    byte[] prefix = in.readNBytes(PREFIX_BYTES);
    if (prefix.length == 0) {
      return Optional.empty();
    }
    if (prefix.length < PREFIX_BYTES) {
      throw malformed("it ends after " + prefix.length + " of 5 bytes before a message");
    }
    int flags = prefix[0] & 0xff;
    long length = ByteBuffer.wrap(prefix, 1, 4).getInt() & 0xffffffffL;
    if ((flags & ~(COMPRESSED | END_OF_STREAM)) != 0) {
      throw malformed("it has the unknown flags " + flags);
    }
    if (length > messageBytesMax) {
      throw new ConnectException(
          ConnectCode.INVALID_ARGUMENT,
          "a message of " + length + " bytes; at most " + messageBytesMax);
    }
    byte[] message = in.readNBytes((int) length);
    if (message.length < length) {
      throw malformed("it ends after " + message.length + " of " + length + " bytes of a message");
    }
    return Optional.of(new Envelope(flags, message));
  }

  /**
   * This one, if it is a message of a request.
   *
   * @throws ConnectException INTERNAL when it is compressed, INVALID_ARGUMENT when it is an end
   */
  Envelope plain() {
    if ((flags & COMPRESSED) != 0) {
      throw new ConnectException(
          ConnectCode.INTERNAL, "a message is marked as compressed, but no compression is agreed");
    }
    if ((flags & END_OF_STREAM) != 0) {
      throw new ConnectException(
          ConnectCode.INVALID_ARGUMENT, "a request has no end-of-stream message");
    }
    return this;
  }

  private static ConnectException malformed(String what) {
    return new ConnectException(
        ConnectCode.INVALID_ARGUMENT, "the body is no sequence of enveloped messages: " + what);
  }
}
