package dev.forkd.http.connect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Messages in their envelopes. */
class EnvelopeTest {
  private static final int MAX = 64;

  private static List<Envelope> readAll(byte[] bytes) throws IOException {
    ByteArrayInputStream in = new ByteArrayInputStream(bytes);
    List<Envelope> all = new ArrayList<>();
    for (Optional<Envelope> next = Envelope.read(in, MAX);
        next.isPresent();
        next = Envelope.read(in, MAX)) {
      all.add(next.get());
    }
    return all;
  }

  /** The prefix is a byte of flags and the length with its most significant byte first. */
  @Test
  void thePrefixIsAsTheProtocolSays() {
    assertThat(HexFormat.of().formatHex(new Envelope(2, new byte[] {'{', '}'}).toBytes()))
        .isEqualTo("02000000027b7d");
    assertThat(new Envelope(0, new byte[258]).toBytes()).startsWith(0, 0, 0, 1, 2);
  }

  /** Pieces of an envelope, unknown flags and lengths beyond the limit are the client's fault. */
  @ParameterizedTest
  @CsvSource({
    "00, 1 of 5",
    "00000000, 4 of 5",
    "0000000002ff, 1 of 2",
    "0000000001, 0 of 1",
    "0400000000, unknown flags 4",
    "ff00000000, unknown flags 255",
    "0000000041, 65 bytes; at most 64",
    "007fffffff, 2147483647 bytes",
    "0080000000, 2147483648 bytes",
    "00ffffffff, 4294967295 bytes",
    "000000000001, 1 of 5"
  })
  void brokenOnesAreRefused(String hex, String told) {
    assertThatThrownBy(() -> readAll(HexFormat.of().parseHex(hex)))
        .isInstanceOfSatisfying(
            ConnectException.class,
            e -> assertThat(e.code()).isEqualTo(ConnectCode.INVALID_ARGUMENT))
        .hasMessageContaining(told);
  }

  /** What is written is read again, whatever is in it and however it is cut into reads. */
  @Test
  void whatIsWrittenIsRead() throws IOException {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    for (int round = 0; round < 500; round++) {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      List<String> written = new ArrayList<>();
      for (int i = random.nextInt(5); i > 0; i--) {
        byte[] message = new byte[random.nextInt(MAX + 1)];
        random.nextBytes(message);
        Envelope envelope = new Envelope(random.nextInt(4), message);
        written.add(envelope.flags() + HexFormat.of().formatHex(message));
        bytes.writeBytes(envelope.toBytes());
      }
      assertThat(readAll(bytes.toByteArray()))
          .as("seed %d, round %d", seed, round)
          .extracting(e -> e.flags() + HexFormat.of().formatHex(e.message()))
          .isEqualTo(written);
    }
  }

  /** Any bytes are either envelopes, which then are those very bytes, or refused as such. */
  @Test
  void anyBytesAreReadOrRefused() throws IOException {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    int read = 0;
    int refused = 0;
    for (int round = 0; round < 20_000; round++) {
      byte[] bytes = new byte[random.nextInt(40)];
      random.nextBytes(bytes);
      for (int i = 0; i < bytes.length; i++) {
        if (random.nextInt(4) > 0) {
          bytes[i] = (byte) random.nextInt(3); // Mostly small, so that lengths are possible ones.
        }
      }
      try {
        ByteArrayOutputStream again = new ByteArrayOutputStream();
        for (Envelope envelope : readAll(bytes)) {
          again.writeBytes(envelope.toBytes());
        }
        assertThat(again.toByteArray()).as("seed %d, round %d", seed, round).isEqualTo(bytes);
        read++;
      } catch (ConnectException e) {
        assertThat(e.code())
            .as("seed %d, round %d", seed, round)
            .isEqualTo(ConnectCode.INVALID_ARGUMENT);
        refused++;
      }
    }
    assertThat(read).as("seed %d", seed).isPositive();
    assertThat(refused).as("seed %d", seed).isPositive();
  }
}
