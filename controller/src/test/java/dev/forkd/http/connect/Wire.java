package dev.forkd.http.connect;

import dev.forkd.http.RawHttp;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Envelopes, seen from the client's side. */
public final class Wire {
  private Wire() {}

  /** An envelope around text. */
  public static byte[] envelope(int flags, String text) {
    return new Envelope(flags, text.getBytes(StandardCharsets.UTF_8)).toBytes();
  }

  /** An envelope as {@code FLAGS TEXT}. */
  private static String shown(Envelope envelope) {
    return envelope.flags() + " " + new String(envelope.message(), StandardCharsets.UTF_8);
  }

  /** The next chunk of a stream, which must hold one whole envelope. */
  public static String next(RawHttp client) throws IOException {
    List<String> envelopes = all(client.chunk());
    if (envelopes.size() != 1) {
      throw new IOException("a chunk holds " + envelopes);
    }
    return envelopes.getFirst();
  }

  /** All envelopes of a body. */
  public static List<String> all(byte[] body) throws IOException {
    ByteArrayInputStream in = new ByteArrayInputStream(body);
    List<String> all = new ArrayList<>();
    for (Optional<Envelope> next = Envelope.read(in, 1 << 24);
        next.isPresent();
        next = Envelope.read(in, 1 << 24)) {
      all.add(shown(next.get()));
    }
    return all;
  }
}
