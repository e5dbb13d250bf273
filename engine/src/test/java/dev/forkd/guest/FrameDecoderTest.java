package dev.forkd.guest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class FrameDecoderTest {
  private static byte[] bytes(Frame frame) {
    return ByteBuffer.allocate(Frame.HEADER_BYTES + frame.payload().length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putInt(frame.stream())
        .putShort((short) frame.payload().length)
        .put((byte) frame.type())
        .put((byte) frame.flags())
        .put(frame.payload())
        .array();
  }

  private static Frame random(Random dice) {
    byte[] payload = new byte[dice.nextInt(8) == 0 ? Frame.MAX_PAYLOAD_BYTES : dice.nextInt(200)];
    dice.nextBytes(payload);
    return new Frame(dice.nextInt(), 1 + dice.nextInt(12), dice.nextInt(256), payload);
  }

  /** However the bytes are cut, the same frames come out. */
  @Test
  void framesSurviveAnyCut() {
    long seed = System.nanoTime();
    Random dice = new Random(seed);
    for (int round = 0; round < 200; round++) {
      List<Frame> sent = new ArrayList<>();
      ByteArrayOutputStream stream = new ByteArrayOutputStream();
      for (int i = dice.nextInt(20); i > 0; i--) {
        Frame frame = random(dice);
        sent.add(frame);
        stream.writeBytes(bytes(frame));
      }
      FrameDecoder decoder = new FrameDecoder();
      List<Frame> heard = new ArrayList<>();
      byte[] all = stream.toByteArray();
      for (int at = 0; at < all.length; ) {
        int size = Math.min(all.length - at, 1 + dice.nextInt(30_000));
        heard.addAll(decoder.feed(ByteBuffer.wrap(all, at, size)));
        at += size;
      }
      assertThat(heard).as("seed %d", seed).hasSameSizeAs(sent);
      for (int i = 0; i < sent.size(); i++) {
        assertThat(bytes(heard.get(i))).as("seed %d", seed).isEqualTo(bytes(sent.get(i)));
      }
    }
  }

  /** Whatever a guest sends, it gives frames or one clear refusal. */
  @Test
  void anyBytes() {
    long seed = System.nanoTime();
    Random dice = new Random(seed);
    for (int round = 0; round < 2000; round++) {
      byte[] noise = new byte[dice.nextInt(400)];
      dice.nextBytes(noise);
      try {
        new FrameDecoder().feed(ByteBuffer.wrap(noise));
      } catch (ForkdException e) {
        assertThat(e.code()).as("seed %d", seed).isEqualTo(ErrorCode.DATA_LOSS);
      }
    }
    byte[] tooLong = bytes(new Frame(1, Frame.DATA, 0, new byte[0]));
    tooLong[4] = 1;
    tooLong[5] = 0x40;
    assertThatThrownBy(() -> new FrameDecoder().feed(ByteBuffer.wrap(tooLong)))
        .hasMessageContaining("16385 bytes");
  }

  /** The nonce is found wherever it is cut, behind bytes that look like its beginning. */
  @Test
  void nonceIsFound() {
    nonceIsFound(10749914166339L); // a nonce that ends in its own first byte
    nonceIsFound(System.nanoTime());
  }

  private static void nonceIsFound(long seed) {
    Random dice = new Random(seed);
    for (int round = 0; round < 500; round++) {
      byte[] nonce = new byte[32];
      dice.nextBytes(nonce);
      ByteArrayOutputStream stream = new ByteArrayOutputStream();
      for (int i = dice.nextInt(5); i > 0; i--) {
        stream.write(nonce, 0, dice.nextInt(32));
      }
      stream.writeBytes(nonce);
      stream.write(42);
      NonceFilter filter = new NonceFilter(nonce);
      byte[] all = stream.toByteArray();
      int at = 0;
      boolean passed = false;
      while (!passed && at < all.length) {
        ByteBuffer piece =
            ByteBuffer.wrap(all, at, Math.min(all.length - at, 1 + dice.nextInt(40)));
        passed = filter.passed(piece);
        at = piece.position();
      }
      assertThat(passed).as("seed %d", seed).isTrue();
      assertThat(at).as("seed %d", seed).isEqualTo(firstEndOf(nonce, all));
    }
  }

  /**
   * Where the first whole nonce ends: not always at the one that was written last, as a nonce that
   * ends in the byte it begins with is already complete when 31 bytes of it come before it.
   */
  private static int firstEndOf(byte[] nonce, byte[] all) {
    int at = 0;
    while (!Arrays.equals(nonce, 0, nonce.length, all, at, at + nonce.length)) {
      at++;
    }
    return at + nonce.length;
  }
}
