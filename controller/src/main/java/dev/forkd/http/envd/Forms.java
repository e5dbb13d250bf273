package dev.forkd.http.envd;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.commons.fileupload2.core.AbstractFileUpload;
import org.apache.commons.fileupload2.core.DiskFileItem;
import org.apache.commons.fileupload2.core.DiskFileItemFactory;
import org.apache.commons.fileupload2.core.FileItemHeaders;
import org.apache.commons.fileupload2.core.MultipartInput;
import org.apache.commons.fileupload2.core.RequestContext;

/** The parts of a {@code multipart/form-data} body, one after the other, nothing kept. */
final class Forms {
  private static final int PARTS_MAX = 10_000;

  /** The longest path of a guest as a file name, with each of its bytes escaped, and more. */
  private static final int PART_HEAD_BYTES_MAX = 32 << 10;

  private static final Upload HEADERS = new Upload();

  private final MultipartInput parts;
  private int count;

  /**
   * A part.
   *
   * @param field its name in the form; empty when it has none
   * @param fileName as the client gives it, unchecked
   * @param content to be read, or not, before the next part is asked for
   */
  record Part(String field, Optional<String> fileName, InputStream content) {}

  /** The library's knowledge of headers; what would collect, or check names, is not used. */
  private static final class Upload
      extends AbstractFileUpload<RequestContext, DiskFileItem, DiskFileItemFactory> {
    @Override
    public Map<String, List<DiskFileItem>> parseParameterMap(RequestContext body) {
      throw new UnsupportedOperationException("forms are read part by part");
    }

    @Override
    public List<DiskFileItem> parseRequest(RequestContext body) {
      throw new UnsupportedOperationException("forms are read part by part");
    }
  }

  private Forms(MultipartInput parts) {
    this.parts = parts;
  }

  /**
   * Begins to read.
   *
   * @throws RestFailure 400 when the type does not tell what is between the parts
   */
  static Forms read(String type, InputStream in) throws IOException {
    byte[] boundary = HEADERS.getBoundary(type);
    if (boundary == null || boundary.length == 0) {
      throw new RestFailure(400, "the content type has no boundary");
    }
    MultipartInput parts =
        MultipartInput.builder()
            .setInputStream(in)
            .setBoundary(boundary)
            .setPartHeaderSizeMax(PART_HEAD_BYTES_MAX)
            .get();
    parts.setHeaderCharset(StandardCharsets.UTF_8);
    return new Forms(parts);
  }

  /** The next part; empty behind the last one. */
  Optional<Part> next() throws IOException {
    boolean more = count == 0 ? parts.skipPreamble() : leave();
    if (!more) {
      return Optional.empty();
    }
    if (++count > PARTS_MAX) {
      throw new RestFailure(400, "the form has more than " + PARTS_MAX + " parts");
    }
    FileItemHeaders headers = HEADERS.getParsedHeaders(parts.readHeaders());
    String field = HEADERS.getFieldName(headers);
    return Optional.of(
        new Part(
            field == null ? "" : field,
            Optional.ofNullable(HEADERS.getFileName(headers)),
            parts.newInputStream()));
  }

  /** Passes over what is left of a part; false when it was the last. */
  private boolean leave() throws IOException {
    parts.discardBodyData();
    return parts.readBoundary();
  }
}
