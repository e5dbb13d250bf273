package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * Turns bytes from a guest into frames. Whatever the bytes, it never keeps more than one frame of
 * them. Not thread-safe.
 */
final class FrameDecoder {
  private final ByteBuffer pending =
      ByteBuffer.allocate(Frame.HEADER_BYTES + Frame.MAX_PAYLOAD_BYTES)
          .order(ByteOrder.LITTLE_ENDIAN);

  /**
   * Takes all of {@code bytes}; returns the frames they complete.
   *
   * @throws ForkdException DATA_LOSS when they are not frames
   */
  List<Frame> feed(ByteBuffer bytes) {
    List<Frame> frames = new ArrayList<>();
    while (bytes.hasRemaining()) {
      int wanted = wanted();
      int take = Math.min(wanted - pending.position(), bytes.remaining());
      pending.put(bytes.slice(bytes.position(), take));
      bytes.position(bytes.position() + take);
      if (pending.position() == wanted() && pending.position() >= Frame.HEADER_BYTES) {
        frames.add(take());
      }
    }
    return frames;
  }

  private int wanted() {
    return pending.position() < Frame.HEADER_BYTES
        ? Frame.HEADER_BYTES
        : Frame.HEADER_BYTES + length();
  }

  private int length() {
    int length = Short.toUnsignedInt(pending.getShort(4));
    if (length > Frame.MAX_PAYLOAD_BYTES) {
      throw broken("a payload of " + length + " bytes");
    }
    return length;
  }

  private Frame take() {
    int stream = pending.getInt(0);
    int type = pending.get(6);
    if (type < Frame.SYNC || type > Frame.NOTE) {
      throw broken("a frame of type " + type);
    }
    byte[] payload = new byte[length()];
    pending.get(Frame.HEADER_BYTES, payload);
    int flags = Byte.toUnsignedInt(pending.get(7));
    pending.clear();
    return new Frame(stream, type, flags, payload);
  }

  static ForkdException broken(String what) {
    return new ForkdException(
        ErrorCode.DATA_LOSS, "the guest agent sent " + what + ", which its protocol does not have");
  }
}
