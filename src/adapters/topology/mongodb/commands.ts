import type { MongodbQuestion } from '../../../platform/mongodb-session.ts';

/** All of them read. Each is sent to the database `admin` of one server. */

/** Answered without a login, by routers, arbiters and servers of no set too. */
export const helloQuestion: MongodbQuestion = { hello: 1 };

/** Needs the action `replSetGetStatus`. */
export const statusQuestion: MongodbQuestion = { replSetGetStatus: 1 };

/** Needs the action `replSetGetConfig`. */
export const configQuestion: MongodbQuestion = { replSetGetConfig: 1 };
