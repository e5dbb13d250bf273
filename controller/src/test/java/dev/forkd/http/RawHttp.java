package dev.forkd.http;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * A connection that shows every byte: requests are written as they are, answers read as they come.
 */
public final class RawHttp implements AutoCloseable {
  private final Socket socket;
  private final DataInputStream in;

  public RawHttp(int port) {
    try {
      socket = new Socket(InetAddress.getLoopbackAddress(), port);
      socket.setSoTimeout((int) TestDaemon.PATIENCE.toMillis());
      in = new DataInputStream(new java.io.BufferedInputStream(socket.getInputStream()));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  public Socket socket() {
    return socket;
  }

  public InputStream input() {
    return in;
  }

  /** Sends lines, each with CR LF, and an empty one after them. */
  public RawHttp head(String... lines) {
    return send(String.join("\r\n", lines) + "\r\n\r\n");
  }

  public RawHttp send(String text) {
    return send(text.getBytes(StandardCharsets.UTF_8));
  }

  public RawHttp send(byte[] bytes) {
    try {
      socket.getOutputStream().write(bytes);
      socket.getOutputStream().flush();
      return this;
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** A request with a body of known length. */
  public RawHttp request(String first, byte[] body, String... headers) {
    List<String> lines = new ArrayList<>(List.of(first, "Host: localhost"));
    lines.addAll(List.of(headers));
    lines.add("Content-Length: " + body.length);
    return head(lines.toArray(String[]::new)).send(body);
  }

  public RawHttp request(String first, String body, String... headers) {
    return request(first, body.getBytes(StandardCharsets.UTF_8), headers);
  }

  /** Status and headers of an answer; names in lower case. */
  public record Answer(int status, Map<String, String> headers, byte[] body) {
    public String text() {
      return new String(body, StandardCharsets.UTF_8);
    }

    public String header(String name) {
      return headers.getOrDefault(name, "");
    }
  }

  /** Reads up to the empty line after the headers. */
  public Answer answerHead() throws IOException {
    String first = line();
    Map<String, String> headers = new TreeMap<>();
    for (String line = line(); !line.isEmpty(); line = line()) {
      int colon = line.indexOf(':');
      headers.merge(
          line.substring(0, colon).toLowerCase(Locale.ROOT),
          line.substring(colon + 1).strip(),
          (a, b) -> a + "," + b);
    }
    return new Answer(Integer.parseInt(first.split(" ")[1]), headers, new byte[0]);
  }

  /** Reads a whole answer. */
  public Answer answer() throws IOException {
    Answer head = answerHead();
    ByteArrayOutputStream body = new ByteArrayOutputStream();
    if (head.header("transfer-encoding").equals("chunked")) {
      for (byte[] chunk = chunk(); chunk.length > 0; chunk = chunk()) {
        body.writeBytes(chunk);
      }
    } else if (!head.header("content-length").isEmpty()) {
      body.writeBytes(exactly(Integer.parseInt(head.header("content-length"))));
    } else if (head.status() != 204 && head.status() != 304) {
      body.writeBytes(in.readAllBytes());
    }
    return new Answer(head.status(), head.headers(), body.toByteArray());
  }

  /** One chunk of an answer; empty at its end. */
  public byte[] chunk() throws IOException {
    byte[] chunk = exactly(Integer.parseInt(line(), 16));
    if (!line().isEmpty()) {
      throw new IOException("no line end after a chunk");
    }
    return chunk;
  }

  private byte[] exactly(int count) throws IOException {
    byte[] bytes = new byte[count];
    in.readFully(bytes);
    return bytes;
  }

  private String line() throws IOException {
    StringBuilder line = new StringBuilder();
    while (true) {
      int b = in.read();
      if (b < 0) {
        throw new EOFException("the connection ended in the line '" + line + "'");
      }
      if (b == '\n') {
        return line.substring(0, line.length() - 1);
      }
      line.append((char) b);
    }
  }

  @Override
  public void close() {
    try {
      socket.close();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }
}
