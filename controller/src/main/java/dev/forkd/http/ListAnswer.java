package dev.forkd.http;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

/**
 * A good answer that is a list in JSON and goes out while it comes about: however long the list is,
 * one piece of it is in memory. What fails before the first piece has gone can still be told with a
 * status; later the answer breaks off. Used by the request's thread.
 */
public final class ListAnswer {
  private static final String JSON = "application/json";
  private static final int PIECE_BYTES = 64 << 10;

  private final Exchange exchange;
  private final byte[] end;
  private final ByteArrayOutputStream piece = new ByteArrayOutputStream();
  private Optional<OutputStream> out = Optional.empty();
  private boolean any;

  /**
   * @param begin what is before the first element, such as the opening bracket
   * @param end what is behind the last one
   */
  public ListAnswer(Exchange exchange, String begin, String end) {
    this.exchange = exchange;
    this.end = end.getBytes(StandardCharsets.UTF_8);
    piece.writeBytes(begin.getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Adds an element, and waits for the client when a piece is full.
   *
   * @throws ClientGoneException when it is gone
   * @throws CutOffException when the exchange was cut
   */
  public void add(byte[] json) {
    exchange.cut().check();
    if (any) {
      piece.write(',');
    }
    any = true;
    piece.writeBytes(json);
    if (piece.size() >= PIECE_BYTES) {
      send(false);
    }
  }

  /**
   * Ends the list well. One that failed is left as it is: its client is to see that it broke off.
   */
  public void end() {
    exchange.cut().check();
    piece.writeBytes(end);
    if (out.isEmpty()) {
      exchange.bytes(200, JSON, piece.toByteArray());
    } else {
      send(true);
    }
  }

  private void send(boolean last) {
    if (out.isEmpty()) {
      out = Optional.of(exchange.stream(200, JSON));
    }
    OutputStream stream = out.get();
    try {
      stream.write(piece.toByteArray());
      piece.reset();
      if (last) {
        stream.close();
      }
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }
}
