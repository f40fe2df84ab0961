/** How the engine's errors look over HTTP. */
import type { ErrorCode } from '../lib/errors.ts';

export const HTTP_STATUS: Readonly<Record<ErrorCode, number>> = {
  NOT_FOUND: 404,
  ACCESS_DENIED: 403,
  CONFLICT: 409,
  HELD: 409,
  FENCED: 409,
  CORRUPT: 500,
  TIMEOUT: 504,
  UNAVAILABLE: 503,
  NO_SPACE: 507,
  READ_ONLY: 403,
  INVALID: 400,
  UNSUPPORTED: 501,
  CANCELLED: 503,
};
